"""What a run keeps of new items, and what it is learned from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from taste_shop import write_shop

from ld4mrec_cli.api import add_items, prepare, train
from ld4mrec_cli.data.row_values import RowValues
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.runs.extension import Extension, load_extension
from ld4mrec_cli.utils.errors import RunError


def test_an_extension_without_a_head_stays_without_one():
    """A run that an older version extended kept no content."""
    neighbors = csr_matrix(np.eye(2, 5, dtype=np.float32))
    both = Extension(neighbors, None, {}).append(neighbors[:1], np.ones((1, 3), dtype=np.float32))
    assert both.neighbors.shape == (3, 5)
    assert both.content is None
    assert set(both.to_arrays()) == {"data", "indices", "indptr"}


@pytest.mark.parametrize("content", [None, np.ones((3, 4)), np.ones(2)])
def test_a_head_without_the_content_of_all_items_is_damaged(tmp_path, content):
    neighbors = csr_matrix(np.eye(2, 5, dtype=np.float32))
    arrays = Extension(neighbors, content, {"bias": np.zeros(5)}).to_arrays()
    run = SimpleNamespace(
        path=tmp_path,
        manifest=SimpleNamespace(
            new_items=SimpleNamespace(count=2), dataset=SimpleNamespace(n_items=5)
        ),
        load_tensors=lambda name: {key: torch.from_numpy(value) for key, value in arrays.items()},
    )
    with pytest.raises(RunError, match="the content of the new items"):
        load_extension(run)


@pytest.mark.slow
def test_the_head_is_trained_on_the_weights_of_the_run(tmp_path, monkeypatch):
    root = write_shop(tmp_path)
    header, *orders = (root / "orders.csv").read_text().splitlines()
    lines = [f"{header},times", *(f"{order},{1 + n % 3}" for n, order in enumerate(orders))]
    (root / "orders.csv").write_text("\n".join(lines))
    tables = {"interactions": root / "orders.csv", "items": root / "items.csv"}
    columns = {"weight": "times"}
    data = prepare(root, root / "data", **tables, text_fields=("title",), columns=columns)
    settings = {"training.max_epochs": 1, "model.hidden_dim": 8}
    run = train(data, "ld4mrec", run=root / "run", settings=settings)
    seen = []
    monkeypatch.setattr(
        LD4MRec, "learn_content", lambda self, rows, content, seed: seen.append(rows) or {}
    )
    add_items(run, root / "new.csv", root / "extended")
    mean_weight = run.manifest.dataset.mean_weight
    assert mean_weight is not None
    assert mean_weight > 1.0
    assert (seen[0] != data.matrix(Split.TRAIN, values=RowValues(mean_weight))).nnz == 0
