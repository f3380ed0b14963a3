"""Raw directories, made and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from raw_files import assert_rejected, fill

from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic
from ld4mrec_cli.settings.data import PrepareConfig

REAL_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SMALL = SyntheticSize(users=60, items=30, image_dim=4)


@pytest.fixture
def raw(tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    """Make a raw directory of the given files."""
    return lambda files: fill(tmp_path / "raw", files)


@pytest.fixture
def read(raw: Callable[[Mapping[str, Any]], Path]) -> Callable[..., RawData]:
    """Make a raw directory of the given files and read it."""

    def whole(files: Mapping[str, Any], **options: Any) -> RawData:
        source = read_source(raw(files), PrepareConfig(**options))
        assert source.items.columns[0] == "item"  # content of items is read when it is asked for
        return source

    return whole


@pytest.fixture
def rejects(read: Callable[..., RawData]) -> Callable[..., str]:
    """Check that reading the given files fails with a message that holds the given parts."""
    return lambda files, *parts, **options: assert_rejected(lambda: read(files, **options), *parts)


@pytest.fixture(scope="session")
def planted_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only raw directory of planted data with timestamps, titles and an image modality."""
    directory = tmp_path_factory.mktemp("planted")
    write_synthetic(directory, seed=3, size=SMALL)
    return directory


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Find a folder of the real data, or skip."""

    def find(name: str) -> Path:
        if not (REAL_DATA / name).is_dir():
            pytest.skip(f"real data not found: {REAL_DATA / name}")
        return REAL_DATA / name

    return find


@pytest.fixture(scope="session")
def prepared(planted_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset directory of ``planted_raw``. Not to be changed."""
    out = tmp_path_factory.mktemp("prepared") / "small"
    prepare(planted_raw, out, PrepareConfig(k_core=3, text_dim=8))
    return out
