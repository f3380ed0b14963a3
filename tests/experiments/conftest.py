"""Comparisons on a small planted dataset, trained in this process."""

from __future__ import annotations

import pytest
from compare_bench import Bench


@pytest.fixture
def bench(tmp_path, planted_dataset):
    return Bench(tmp_path, planted_dataset)
