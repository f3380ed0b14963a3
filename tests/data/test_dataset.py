from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_files import assert_rejected

from ld4mrec_cli.data.dataset import Dataset, Ids, is_dataset, natural_order
from ld4mrec_cli.utils.errors import DatasetError, UnknownIdError

FILES = [
    "users.parquet",
    "items.parquet",
    "train.parquet",
    "features/image.npy",
    "features/text.present.npy",
]


@pytest.fixture
def dataset(prepared: Path, tmp_path: Path) -> Path:
    """A copy of a dataset directory, to be damaged."""
    return shutil.copytree(prepared, tmp_path / "copy")


def use(directory: Path) -> None:
    """Read all that a dataset directory holds."""
    opened = Dataset.open(directory)
    assert len(opened.users) == opened.shape[0]
    assert len(opened.items) == len(opened.titles) == opened.shape[1]
    for split in ("train", "valid", "test"):
        assert opened.matrix(split).shape == opened.shape
    for name in opened.modality_names():
        assert len(opened.modality(name).values) == opened.shape[1]


@given(st.lists(st.integers(0, 10**30), unique=True))
def test_numbers_are_sorted_as_numbers(numbers):
    assert natural_order(map(str, numbers)) == [str(number) for number in sorted(numbers)]


@given(st.lists(st.text(), unique=True))
def test_ids_are_sorted_and_none_is_lost(ids):
    ordered = natural_order(ids)
    assert sorted(ordered) == sorted(ids)
    assert ordered == natural_order(reversed(ids))


def test_natural_order_known_answers():
    assert natural_order(["10", "9", "0"]) == ["0", "9", "10"]
    assert natural_order(["10", "9", "a"]) == ["10", "9", "a"]
    assert natural_order(["10", "09"]) == ["09", "10"]
    assert natural_order(["10", "٩"]) == ["10", "٩"]
    assert natural_order(["2" * 5000, "1" * 5001, "3"]) == ["3", "2" * 5000, "1" * 5001]


def test_ids_map_both_ways_and_name_the_nearest():
    ids = Ids(["hat", "glove"], "item")
    assert [ids[ids.index(raw)] for raw in ("glove", "hat")] == ["glove", "hat"]
    assert "hat" in ids
    assert "ha" not in ids
    with pytest.raises(UnknownIdError, match=r"unknown item 'glov'\. Did you mean 'glove'"):
        ids.index("glov")


def test_a_dataset_agrees_with_its_schema(prepared):
    use(prepared)
    opened = Dataset.open(prepared)
    for split, counts in opened.schema.splits.items():
        matrix = opened.matrix(split)
        assert matrix.nnz == counts.interactions
        assert (matrix.getnnz(axis=1) > 0).sum() == counts.users
        assert (matrix.getnnz(axis=0) > 0).sum() == counts.items
        assert set(matrix.data) == {1.0}
        assert matrix.has_sorted_indices
    assert opened.schema.n_interactions == sum(
        counts.interactions for counts in opened.schema.splits.values()
    )
    assert opened.schema.density == opened.schema.n_interactions / np.prod(opened.shape)


def test_unknown_modality_is_named(prepared):
    opened = Dataset.open(prepared)
    assert opened.modality_names(["text"]) == ("text",)
    assert_rejected(lambda: opened.modality_names(["imag"]), "'imag'", "'image'")


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_noticed(dataset, name):
    content = bytearray((dataset / name).read_bytes())
    content[len(content) // 2] ^= 1
    (dataset / name).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{name}: was changed"):
        use(dataset)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_noticed(dataset, name):
    (dataset / name).unlink()
    with pytest.raises(DatasetError, match=f"{name}: is missing"):
        use(dataset)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"format": "ld4mrec-dataset"}', b"\xff\xfe", "[" * 100_000],
    ids=["empty", "half", "list", "null", "fields missing", "not utf-8", "deep"],
)
def test_a_damaged_schema_is_refused(dataset, content):
    (dataset / "schema.json").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(DatasetError, match=r"schema\.json: is damaged or of another version"):
        Dataset.open(dataset)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"format": "other"},
        {"n_users": "many"},
        {"extra": 1},
        {"files": {"../users.parquet": "0"}},
        {"files": {"/etc/hostname": "0"}},
    ],
)
def test_a_schema_of_another_kind_is_refused(dataset, change):
    schema = json.loads((dataset / "schema.json").read_text())
    (dataset / "schema.json").write_text(json.dumps(schema | change))
    with pytest.raises(DatasetError, match="damaged or of another version"):
        Dataset.open(dataset)


def test_a_directory_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="not a dataset directory"):
        Dataset.open(tmp_path)
    with pytest.raises(DatasetError, match="no such dataset directory"):
        Dataset.open(tmp_path / "nowhere")
    assert not is_dataset(tmp_path)


def test_the_hash_is_that_of_the_content(prepared, dataset):
    same = Dataset.open(dataset)
    assert same.hash == Dataset.open(prepared).hash
    schema = json.loads((dataset / "schema.json").read_text())
    schema["files"]["train.parquet"] = "0" * 64
    (dataset / "schema.json").write_text(json.dumps(schema))
    assert Dataset.open(dataset).hash != same.hash


def test_a_directory_name_is_no_pattern(prepared, tmp_path):
    use(shutil.copytree(prepared, tmp_path / "data [1]*"))


def test_interactions_are_indices_in_order(prepared):
    table = Dataset.open(prepared).interactions("train")
    assert table.columns == ["user", "item", "timestamp"]
    assert table.equals(table.sort("user", "item"))
    assert table.schema["user"] == table.schema["item"] == pl.UInt32
