"""Ready-made features keyed by item, as `.npz`, in every layout."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl
import pytest

TABLE = {"interactions.csv": "user,item\na,1\nb,2\n"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "table": TABLE,
    "mmrec": {"x.inter": "userID\titemID\n0\t1\n1\t2\n"},
    "recbole": {"x.inter": "user_id:token\titem_id:token\na\t1\nb\t2\n"},
    "amazon": {
        "r.json": [
            {"reviewerID": "a", "asin": n, "overall": 5.0, "unixReviewTime": 1} for n in "12"
        ]
    },
}
VALUES = np.array([[5.0, 6.0], [1.0, 2.0]])


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "ids",
    [["2", "1"], [b"2", b" 1"], np.array([2, 1], dtype=np.uint8), [2.0, 1.0]],
    ids=["text", "bytes", "numbers", "floats"],
)
def test_npz_features_come_in_any_order_in_every_layout(read, layout, ids):
    data = read(LAYOUTS[layout] | {"image_feat.npz": npz(ids=ids, features=VALUES)})
    assert data.format == layout
    features = data.features["image"]
    assert dict(zip(features.item_ids, features.values.tolist(), strict=True)) == {
        "2": [5, 6],
        "1": [1, 2],
    }
    assert "image_feat.npz" in {path.name for path in data.files}


@pytest.mark.parametrize("id_name", ["ids", "item_ids", "items"])
@pytest.mark.parametrize("value_name", ["features", "values", "vectors"])
def test_npz_arrays_have_several_names(read, id_name, value_name):
    arrays = {id_name: ["2"], value_name: VALUES[:1].astype(np.float16), "more": np.zeros(3)}
    assert read(TABLE | {"image_feat.npz": npz(**arrays)}).features["image"].item_ids == ["2"]


def test_whole_numbers_match_text_ids_in_parquet_too(read):
    table = pl.DataFrame({"item": [2, 1], "v": [[5.0], [1.0]]})
    assert read(TABLE | {"image_feat.parquet": table}).features["image"].item_ids == ["2", "1"]


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            npz(keys=["2"], features=VALUES[:1]),
            "has no array ids or item_ids or items; its arrays are: keys, features",
        ),
        (
            npz(ids=["2"], a=VALUES[:1]),
            "has no array features or values or vectors; its arrays are: ids, a",
        ),
        (npz(ids=["2"], items=["2"], features=VALUES[:1]), "has both ids and items"),
        (npz(), "its arrays are: none"),
        (npz(ids=["1", "2", "3"], features=VALUES), "'ids' has 3 rows and 'features' has 2"),
        (npz(ids=["1", "1"], features=VALUES), "array 'ids' has empty or repeated items"),
        (npz(ids=["1", " "], features=VALUES), "array 'ids' has empty or repeated items"),
        (npz(ids=[["1", "2"]], features=VALUES), "'ids' is <U1 with 2 dimensions"),
        (npz(ids=[1.0, np.nan], features=VALUES), "array 'ids' has empty or repeated items"),
        (npz(ids=[1.0, 2.0**53], features=VALUES), "array 'ids' holds ids as Float64 of 2^53"),
        (npz(ids=np.array([1, 4096], np.float16), features=VALUES), "of 2^11 or more"),
        (npz(ids=[True, False], features=VALUES), "'ids' is bool"),
        (npz(ids=[b"1", b"\xff"], features=VALUES), "'ids' is not UTF-8"),
        (
            npz(ids=["1", "2"], features=[[1.0, 2.0], [np.nan, 1.0]]),
            "row 1, column 0 (counted from 0) is nan",
        ),
        (npz(ids=["1", "2"], features=[1.0, 2.0]), "has shape 2"),
        (npz(ids=["1", "2"], features=[["a"], ["b"]]), "numbers are needed"),
        (npz(ids=np.array(["1", "2"], dtype=object), features=VALUES), "ids.astype(str)"),
        (npz(ids=np.array([Trap(), "2"], dtype=object), features=VALUES), "is not a .npz"),
        (b"hello", "is not a .npz"),
        (b"", "is not a .npz"),
        (npz(ids=["1", "2"], features=VALUES)[:-60], "is not a .npz"),
    ],
)
def test_a_bad_npz_is_named(rejects, content, what):
    rejects(TABLE | {"image_feat.npz": content}, "image_feat.npz: ", what)


def test_a_single_array_is_no_npz(rejects):
    buffer = io.BytesIO()
    np.save(buffer, VALUES)
    rejects(TABLE | {"image_feat.npz": buffer.getvalue()}, "image_feat.npz", "a single array")


def test_a_modality_has_one_file(rejects):
    keyed = {"image_feat.npz": npz(ids=["1"], features=VALUES[:1]), "image_feat.npy": VALUES}
    rejects(TABLE | keyed, "'image' has a second file")
