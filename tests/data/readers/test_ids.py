"""One rule for ids: whole numbers are the text of the integer, texts stay as they are."""

from __future__ import annotations

import io
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from ld4mrec_cli.data.readers.ids import id_text

PARQUET = "interactions.parquet"
CSV = "interactions.csv"


def table(**columns) -> pl.DataFrame:
    return pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"]} | columns)


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([7.0, 100.0]),
        pl.Series([7.0, 100.0], dtype=pl.Float32),
        pl.Series([7, 100], dtype=pl.UInt64),
        pl.Series([Decimal("7.00"), Decimal("100.00")]),
        pl.Series(["7", "100"], dtype=pl.Categorical),
        pl.Series([" 7", "100 "]),
    ],
    ids=["float", "float32", "integer", "decimal", "category", "text"],
)
def test_numbers_are_the_text_of_the_whole_number(read, values):
    files = {PARQUET: table(item=values, user=values), "items.csv": "item,title\n7,Red\n100,Blue\n"}
    data = read(files)
    assert data.interactions.rows() == [("7", "7"), ("100", "100")]
    assert data.items.rows() == [("7", "Red"), ("100", "Blue")]


def test_number_ids_of_item_tables_match_those_of_a_csv(read):
    items = pl.DataFrame({"item": [7.0, 8.0], "title": ["Red", "Blue"]})
    data = read({CSV: "user,item\na,7\nb,8\n", "items.parquet": items})
    assert data.items.rows() == [("7", "Red"), ("8", "Blue")]


def test_number_ids_of_features_match_those_of_a_csv(read):
    features = pl.DataFrame({"item": [8.0, 7.0], "v": [1.0, 2.0]})
    data = read({CSV: "user,item\na,7\nb,8\n", "image_feat.parquet": features})
    assert data.features["image"].item_ids == ["8", "7"]


def test_texts_that_look_like_one_number_stay_distinct(read):
    assert read({CSV: "user,item\na,7\na,7.0\na,007\n"}).interactions["item"].to_list() == [
        "7",
        "7.0",
        "007",
    ]


def test_texts_of_parquet_stay_as_they_are(read):
    data = read({PARQUET: table(item=["7.0", "007"])})
    assert data.interactions["item"].to_list() == ["7.0", "007"]


@pytest.mark.parametrize("column", ["user", "item"])
@pytest.mark.parametrize(
    ("dtype", "bits"), [(pl.Float64, 53), (pl.Float32, 24)], ids=["float64", "float32"]
)
def test_floats_that_may_have_merged_ids_are_refused(read, rejects, column, dtype, bits):
    values = pl.Series([2.0**bits, 1.0], dtype=dtype)
    what = f"column '{column}' holds ids as {dtype()} of 2^{bits} or more"
    for on_error in ("raise", "skip"):
        rejects({PARQUET: table(**{column: values})}, PARQUET, what, on_error=on_error)
    exact = pl.Series([2.0**bits - 1, 1.0], dtype=dtype)
    data = read({PARQUET: table(**{column: exact})})
    assert data.interactions[column][0] == str(2**bits - 1)


def test_whole_numbers_of_any_size_are_exact(read):
    values = pl.Series([2**53 + 1, 2**63 + 1], dtype=pl.UInt64)
    assert read({PARQUET: table(item=values)}).interactions["item"].to_list() == [
        str(2**53 + 1),
        str(2**63 + 1),
    ]


def test_nan_is_a_missing_id(read, rejects):
    files = {PARQUET: table(user=[float("nan"), 1.0])}
    rejects(files, f"{PARQUET}: row 1: no value in column 'user'")
    assert read(files, on_error="skip").interactions.rows() == [("1", "y")]
    rejects(
        {PARQUET: table(user=[float("inf"), 1.0])}, "row 1: 'inf' in column 'user' is not an id"
    )


def test_nan_is_a_missing_id_of_an_item_table(rejects):
    items = pl.DataFrame({"item": [1.0, float("nan")], "title": ["Red", "Blue"]})
    rejects({CSV: "user,item\na,1\n", "items.parquet": items}, "row 2: no value in column 'item'")


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_nan_keys_of_features_are_refused(rejects, suffix):
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array([1.0, np.nan]), features=np.ones((2, 2)))
    features = pl.DataFrame({"item": [1.0, float("nan")], "v": [1.0, 2.0]})
    content = buffer.getvalue() if suffix == "npz" else features
    rejects({CSV: "user,item\na,1\n", f"image_feat.{suffix}": content}, "empty or repeated items")


def test_nan_text_of_pandas_is_no_text(read):
    items = pl.DataFrame({"item": ["x"], "title": ["Red"], "brand": [float("nan")]})
    assert read({CSV: "user,item\na,x\n", "items.parquet": items}).items["brand"].to_list() == [
        None
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (7.0, "7"), (-0.0, "0"), (" 7.0 ", "7.0"), (2**60 + 1, str(2**60 + 1))],
)
def test_one_id_of_json(value, text):
    assert id_text(value) == text


@pytest.mark.parametrize("value", [None, True, float("nan"), float("inf"), [7], "  "])
def test_what_is_no_id_of_json_is_empty(value):
    assert id_text(value) == ""


def test_a_large_float_of_json_is_refused():
    with pytest.raises(ValueError, match="may have been merged"):
        id_text(1e16)
