"""Columns of the item table are kept in the dataset, by their kind, and matched by value."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.item_columns import match_values
from ld4mrec_cli.data.noise.inject import inject_noise
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import DatasetError
from ld4mrec_cli.utils.files import sha256, write_json

ITEMS = [f"i{n}" for n in range(6)]


@pytest.fixture
def make(tmp_path):
    """Prepare interactions of six items with an item table; it has one row more, and one less."""

    def call(items: pl.DataFrame, suffix: str = "parquet") -> Dataset:
        raw = tmp_path / "raw"
        raw.mkdir()
        lines = [f"u{u},{item}" for u in range(6) for item in ITEMS]
        (raw / "interactions.csv").write_text("user,item\n" + "\n".join(lines))
        path = raw / f"items.{suffix}"
        items.write_parquet(path) if suffix == "parquet" else items.write_csv(path)
        prepare(raw, tmp_path / "data", PrepareConfig(k_core=0))
        return Dataset.open(tmp_path / "data")

    return call


TABLE = pl.DataFrame(
    {
        "sku": ["i5", "i4", "unused", "i3", "i2", "i1"],
        "name": ["E", "D", "X", "C", "B", "A"],
        "brand": [" Acme ", "Acme", "Acme", "Bolt", "", None],
        "price": [1.5, 2.0, 3.0, float("nan"), None, 2.0],
        "stock": [3, 0, 1, 2, 2, 2],
        "is_new": [True, False, True, None, False, True],
        "tags": [["a", "b "], ["b"], ["c"], [], None, ["a"]],
        "since": [date(2025, 1, n) for n in range(1, 7)],
        "description": ["long " * 40] * 6,
        "nothing": [None] * 6,
        "vector": [[[1.0]]] * 6,
    },
    schema_overrides={"nothing": pl.String},
)


def test_columns_are_kept_in_the_order_of_the_items(make):
    dataset = make(TABLE.rename({"sku": "item"}))
    columns = dataset.item_columns
    assert columns.columns == ["brand", "price", "stock", "is_new", "tags", "since"]
    assert dataset.items.ids == ITEMS
    assert columns["brand"].to_list() == [None, None, None, "Bolt", "Acme", "Acme"]
    assert columns["price"].to_list() == [None, 2.0, None, None, 2.0, 1.5]
    assert columns["is_new"].to_list() == [None, True, False, None, False, True]
    assert columns["tags"].to_list() == [None, ["a"], None, [], ["b"], ["a", "b"]]
    assert columns["since"][5] == "2025-01-01"
    assert dataset.titles == [None, "A", "B", "C", "D", "E"]
    assert "item_columns.parquet" in dataset.schema.files


def test_columns_of_csv_are_text(make):
    columns = make(
        TABLE.select("sku", "brand", "stock").rename({"sku": "item"}), "csv"
    ).item_columns
    assert columns["stock"].to_list() == [None, "2", "2", "2", "0", "3"]


def test_a_table_without_columns_has_no_file(make):
    dataset = make(TABLE.select(item="sku", title="name"))
    assert dataset.item_columns is None
    assert not (dataset.directory / "item_columns.parquet").exists()


@pytest.mark.parametrize(
    ("column", "values", "matches"),
    [
        ("brand", ["Acme"], "i4 i5"),
        ("brand", ["acme"], ""),
        ("brand", ["Acme", "Bolt"], "i3 i4 i5"),
        ("price", ["2"], "i1 i4"),
        ("price", ["2.00", "1.5", "dear"], "i1 i4 i5"),
        ("price", ["nan"], ""),
        ("stock", ["2"], "i1 i2 i3"),
        ("is_new", ["TRUE"], "i1 i5"),
        ("tags", ["b"], "i4 i5"),
        ("tags", ["b", "a"], "i1 i4 i5"),
        ("since", ["2025-01-02"], "i4"),
    ],
)
def test_values_match_by_their_kind(make, column, values, matches):
    columns = make(TABLE.rename({"sku": "item"})).item_columns
    found = match_values(columns[column], values)
    assert (
        " ".join(item for item, is_match in zip(ITEMS, found, strict=True) if is_match) == matches
    )


def test_noise_keeps_the_columns(make, tmp_path):
    dataset = make(TABLE.rename({"sku": "item"}))
    inject_noise(dataset.directory, tmp_path / "noisy", "drop", 0.2, 0)
    assert Dataset.open(tmp_path / "noisy").item_columns.equals(dataset.item_columns)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pl.DataFrame({"brand": ["Acme"]}), "has 1 rows in place of 6"),
        (pl.DataFrame({"x": [[[1]]] * 6}), "its column 'x' is List"),
    ],
)
def test_crafted_columns_are_refused(make, table, message):
    dataset = make(TABLE.rename({"sku": "item"}))
    path = dataset.directory / "item_columns.parquet"
    table.write_parquet(path)
    schema = dataset.schema.model_dump()
    schema["files"][path.name] = sha256(path)
    write_json(dataset.directory / "schema.json", schema)
    with pytest.raises(DatasetError, match=message):
        _ = Dataset.open(dataset.directory).item_columns
