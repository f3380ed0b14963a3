from __future__ import annotations

import io
import pickle

import numpy as np
import polars as pl
import pytest

from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.settings.data import PrepareConfig

INTER = "userID\titemID\n0\t1\n1\t0\n1\t2\n"
TEN = np.arange(20, dtype=np.float32).reshape(10, 2)


def test_reads_interactions_titles_and_features(read):
    data = read(
        {
            "shop.inter": "userID\titemID\trating\ttimestamp\tx_label\n0\t1\t3.5\t9\t0\n1\t0\t2\t8\t2\n",  # noqa: E501
            "items.tsv": 'itemID\ttitle\n1\tA "good" one\n0\tOther\n',
            "image_feat.npy": TEN.astype(np.float16),
        }
    )
    assert data.format == "mmrec"
    assert data.interactions.rows() == [("0", "1", 3.5, 9, 0), ("1", "0", 2.0, 8, 2)]
    assert data.items.rows() == [("1", 'A "good" one'), ("0", "Other")]
    assert data.features["image"].item_ids == ["0", "1"]
    assert data.features["image"].values.tolist() == [[0, 1], [2, 3]]
    assert sorted(path.name for path in data.files) == ["image_feat.npy", "items.tsv", "shop.inter"]


def test_typed_headers_are_understood(read):
    data = read({"x.inter": "user_id:token\titem_id:token\trating:float\n0\t1\t3\n"})
    assert data.interactions.rows() == [("0", "1", 3.0)]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("1", "1 fields"),
        ("1\t2\t3\t4", "4 fields"),
        ("1\t\t0", "'itemID'"),
        ("1\t2\t3", "'3' in column 'x_label'"),
    ],
)
def test_a_malformed_line_is_named(rejects, line, what):
    rejects({"x.inter": f"userID\titemID\tx_label\n0\t1\t0\n{line}\n"}, "x.inter:3: ", what)


def test_several_interaction_files_are_refused(rejects):
    rejects({"a.inter": INTER, "b.inter": INTER}, "a.inter, b.inter")


@pytest.mark.parametrize("odd", ["x7", "-1", "007", "+7", "1.0"])
def test_rows_in_order_need_row_numbers(rejects, odd):
    rejects(
        {"x.inter": f"userID\titemID\n0\t{odd}\n", "image_feat.npy": TEN},
        "x.inter",
        f"item '{odd}'",
        "Parquet",
    )


def test_ids_of_any_kind_do_without_rows_in_order(read):
    assert read({"x.inter": "userID\titemID\n0\t007\n"}).interactions["item"].to_list() == ["007"]


@pytest.mark.parametrize("item", [10, 4_000_000_000, 2**62])
def test_too_few_rows_are_refused_however_large_the_item(rejects, item):
    rejects(
        {"x.inter": f"userID\titemID\n0\t{item}\n", "image_feat.npy": TEN},
        "image_feat.npy",
        "10 rows",
        "x.inter",
    )


def with_value(value: float) -> np.ndarray:
    values = TEN.copy()
    values[4, 1] = value
    return values


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=TEN)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (with_value(np.nan), "row 4, column 1"),
        (with_value(np.inf), "row 4, column 1"),
        (np.full((10, 2), 1e300), "row 0, column 0"),
        (np.arange(10.0), "has shape 10"),
        (np.zeros((10, 2, 2)), "has shape 10 × 2 × 2"),
        (np.array(1.0), "has shape"),
        (np.full((10, 2), "a"), "dtype <U1"),
        (np.zeros((10, 2), dtype=complex), "dtype complex128"),
        (np.zeros((10, 0)), "image_feat.npy"),
        (npz(), "not a .npy array"),
        (b"hello world", "not a .npy array"),
        (b"", "not a .npy array"),
    ],
)
def test_a_bad_feature_file_is_named(rejects, content, what):
    rejects({"x.inter": INTER, "image_feat.npy": content}, "image_feat.npy", what)


def test_a_truncated_feature_file_is_refused(raw, rejects):
    directory = raw({"x.inter": INTER, "image_feat.npy": TEN})
    content = (directory / "image_feat.npy").read_bytes()
    for size in (5, 20, len(content) - 1):
        rejects({"image_feat.npy": content[:size]}, "image_feat.npy", "not a .npy array")


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.filterwarnings("ignore")
def test_a_pickle_is_never_loaded(rejects):
    rejects(
        {"x.inter": INTER, "image_feat.npy": np.array([[Trap()]], dtype=object)}, "image_feat.npy"
    )
    rejects({"x.inter": INTER, "image_feat.npy": pickle.dumps(Trap())}, "image_feat.npy")


@pytest.mark.parametrize("name", ["collaborative", "1st", "a-b", "", "a.b"])
def test_a_bad_modality_name_is_refused(rejects, name):
    rejects(
        {"x.inter": INTER, f"{name}_feat.npy": TEN}, f"{name}_feat.npy", "cannot name a modality"
    )


def test_a_modality_has_one_file(rejects):
    keyed = pl.DataFrame({"item": ["0"], "a": [1.0]})
    rejects(
        {"x.inter": INTER, "image_feat.npy": TEN, "image_feat.parquet": keyed},
        "'image' has a second file",
    )


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"item": ["2", " 0"], "v": [[5.0, 6.0], [1.0, 2.0]]}),
        pl.DataFrame(
            {"item": ["2", "0"], "v": [[5.0, 6.0], [1.0, 2.0]]},
            schema_overrides={"v": pl.Array(pl.Float32, 2)},
        ),
        pl.DataFrame({"itemID": [2, 0], "a": [5, 1], "b": [6.0, 2.0]}),
    ],
    ids=["lists", "arrays", "columns"],
)
def test_features_keyed_by_item_come_in_any_order(read, table):
    features = read({"x.inter": INTER, "image_feat.parquet": table}).features["image"]
    assert dict(zip(features.item_ids, features.values.tolist(), strict=True)) == {
        "2": [5, 6],
        "0": [1, 2],
    }


def test_the_item_column_of_features_can_be_named(read):
    table = pl.DataFrame({"sku": ["2"], "a": [5.0]})
    data = read(
        {"x.inter": "userID\tsku\n0\t2\n", "image_feat.parquet": table}, columns={"item": "sku"}
    )
    assert data.features["image"].item_ids == ["2"]


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"item": ["0", "0"], "a": [1.0, 2.0]}, "repeated items"),
        ({"item": ["0", None], "a": [1.0, 2.0]}, "empty"),
        ({"item": ["0", " "], "a": [1.0, 2.0]}, "empty"),
        ({"item": [["0"], ["1"]], "a": [1.0, 2.0]}, "column 'item' holds"),
        ({"item": ["0", "1"]}, "has shape 2 × 0"),
        ({"item": [], "a": []}, "has shape 0"),
        ({"item": ["0", "1"], "a": [1.0, None]}, "row 1, column 0"),
        ({"item": ["0", "1"], "a": [[1.0, None], [2.0, 3.0]]}, "row 0, column 1"),
        ({"item": ["0", "1"], "a": [[1.0], [2.0, 3.0]]}, "different lengths"),
        ({"item": ["0", "1"], "a": [None, [2.0, 3.0]]}, "missing"),
        ({"item": ["0", "1"], "a": ["x", "y"]}, "numbers are needed"),
        ({"item": ["0", "1"], "a": [["x"], ["y"]]}, "numbers are needed"),
        ({"thing": ["0", "1"], "a": [1.0, 2.0]}, "no item column among: thing, a"),
    ],
)
def test_bad_keyed_features_are_named(rejects, columns, what):
    rejects(
        {"x.inter": INTER, "image_feat.parquet": pl.DataFrame(columns)}, "image_feat.parquet", what
    )


def test_an_empty_list_column_is_refused(rejects):
    table = pl.DataFrame(
        {"item": [], "v": []}, schema={"item": pl.String, "v": pl.List(pl.Float64)}
    )
    rejects({"x.inter": INTER, "image_feat.parquet": table}, "image_feat.parquet", "has shape 0")


def test_rows_in_order_of_a_table_need_its_items(read, rejects):
    table = {"interactions.csv": "user,item\na,x\n", "image_feat.npy": TEN}
    rejects(table, "image_feat.npy", "an items table is needed")
    rejects({"items.csv": "item\nx\nx\n"}, "image_feat.npy", "without repeated or malformed items")
    rejects(
        {"items.csv": "item\ny\nx\n"}, "image_feat.npy", "has 10 rows, but items.csv names 2 items"
    )
    features = read({"image_feat.npy": TEN[:2]}).features["image"]
    assert dict(zip(features.item_ids, features.values.tolist(), strict=True)) == {
        "y": [0, 1],
        "x": [2, 3],
    }


@pytest.mark.parametrize(
    ("name", "users", "items", "splits"),
    [
        ("tiktok", 9308, 6710, [59541, 3051, 6130]),
        ("baby", 19445, 7050, [118551, 21682, 20559]),
        ("ml-100k", 943, 1682, [75000, 12000, 13000]),
    ],
)
def test_real_data_has_its_known_counts(real_data, name, users, items, splits):
    data = read_source(real_data(name), PrepareConfig())
    assert data.interactions["user"].n_unique() == users
    assert data.interactions["item"].n_unique() == items
    assert [len(data.interactions.filter(pl.col("split") == label)) for label in range(3)] == splits
