from __future__ import annotations

import numpy as np
import polars as pl
import pytest

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ti1\t4\t10\nu2\ti2\t3.5\t1.1e1\n"  # noqa: E501
ITEM = "item_id:token\tmovie_title:token_seq\tclass:token_seq\tprice:float\ti_vec:float_seq\n"
ITEMS = ITEM + "i1\tToy Story\tFun Kids\t3\t1 2.5\ni2\tHeat\t\t\t3 -4e0\ni3\tOther\tX\t1\t\n"
PAIR = "user_id:token\titem_id:token\n"
SPLITS = {
    f"ml.{split}.inter": f"{PAIR}u1\ti{n}\n" for n, split in enumerate(("train", "valid", "test"))
}


def test_atomic_files_are_recognized_and_read(read):
    data = read(
        {"ml.inter": INTER, "ml.item": ITEMS, "ml.user": "user_id:token\tage:float\nu1\t3\n"}
    )
    assert data.format == "recbole"
    assert data.interactions.rows() == [("u1", "i1", 4.0, 10), ("u2", "i2", 3.5, 11)]
    assert data.items.rows(named=True) == [
        {"item": "i1", "title": "Toy Story", "categories": "Fun Kids"},
        {"item": "i2", "title": "Heat", "categories": None},
        {"item": "i3", "title": "Other", "categories": "X"},
    ]
    vectors = data.features["i_vec"]
    assert (vectors.item_ids, vectors.values.tolist()) == (["i1", "i2"], [[1.0, 2.5], [3.0, -4.0]])
    assert data.notes == {"unused file (ml.user)": 1}
    assert sorted(path.name for path in data.files) == ["ml.inter", "ml.item"]


def test_benchmark_files_are_the_given_split(read):
    data = read(SPLITS)
    assert data.interactions.select("item", "split").rows() == [("i0", 0), ("i1", 1), ("i2", 2)]


def test_columns_and_text_fields_can_be_named(read, rejects):
    files = {
        "x.inter": "session:token\titem_id:token\nu1\ti1\n",
        "x.item": "item_id:token\tmood:token\ttitle:token_seq\ni1\tcalm\tA song\n",
    }
    data = read(files, columns={"user": "session"}, text_fields=("mood", "title"))
    assert data.interactions.rows() == [("u1", "i1")]
    assert data.items.rows() == [("i1", "A song", "calm")]
    rejects(
        {},
        "x.item",
        "no text field 'mod'",
        "'mood'",
        columns={"user": "session"},
        text_fields=("mod",),
    )
    rejects({}, "x.inter", "no column 'sesion'", "'session'", columns={"user": "sesion"})


def test_features_keyed_by_item_are_taken_and_rows_in_order_refused(read, rejects):
    table = pl.DataFrame({"item": ["i2"], "v": [[1.0]]})
    assert read({"ml.inter": INTER, "image_feat.parquet": table}).features["image"].item_ids == [
        "i2"
    ]
    rejects(
        {"audio_feat.npy": np.ones((2, 2))},
        "audio_feat.npy",
        "cannot be told apart",
        "--format mmrec",
    )


def test_typed_headers_are_read_as_mmrec_where_asked(read):
    files = {"x.inter": PAIR + "0\t1\n", "image_feat.npy": np.ones((2, 3))}
    assert read(files, format="mmrec").features["image"].item_ids == ["0", "1"]


def test_a_modality_has_one_source(rejects):
    table = pl.DataFrame({"item": ["i2"], "v": [[1.0]]})
    files = {"ml.inter": INTER, "ml.item": ITEMS, "i_vec_feat.parquet": table}
    rejects(files, "i_vec_feat.parquet", "'i_vec' is a column of ml.item too")


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (
            "user_id:token\titem_id:token\trate:flot\n",
            1,
            "unknown type 'flot'. Did you mean 'float'?",
        ),
        ("user_id:token\titem_id\n", 1, "column 'item_id' has no type"),
        (
            "user_id:token\titem_id:token_seq\nu\ti\n",
            1,
            "the item 'item_id' is token_seq, not token",
        ),
        ("user_id:float\titem_id:token\nu\ti\n", 1, "the user 'user_id' is float, not token"),
        (PAIR[:-1] + "\trating:float_seq\nu\ti\t1\n", 1, "the rating 'rating' is float_seq"),
        (PAIR[:-1] + "\titem_id:float\nu\ti\t1\n", 1, "names column 'item_id' twice"),
        (PAIR[:-1] + "\titem_id:token\nu\ti\t1\n", 1, "names column 'item_id:token' twice"),
        (
            PAIR.replace("\t", ",") + "u,i\n",
            1,
            "has commas between its columns, a .inter file has tabs",
        ),
        ("uid:token\tthing:token\nu\ti\n", 1, "no item column among: uid, thing"),
        (INTER + "u3\ti3\tfour\t1\n", 4, "'four' in column 'rating' is not a finite number"),
        (INTER + "u3\ti3\t4\n", 4, "3 fields where the header has 4"),
        (INTER + "\ti3\t4\t1\n", 4, "no value in column 'user_id'"),
    ],
)
def test_a_malformed_log_is_named(rejects, content, line, what):
    rejects({"ml.inter": content}, f"ml.inter:{line}: ", what)


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (ITEMS + "i4\tA\tB\t1\t1 2 3\n", 5, "3 numbers in column 'i_vec', other lines have 2"),
        (ITEMS + "i4\tA\tB\t1\t1 x\n", 5, "'x' in column 'i_vec' is not a finite number"),
        (ITEMS + "i4\tA\tB\t1\tnan 1\n", 5, "'nan' in column"),
        (ITEMS + "i4\tA\tB\t1\t1e300 1\n", 5, "'1e300' in column"),
        (ITEMS + " \tA\tB\t1\t1 1\n", 5, "no value in column 'item_id'"),
        (ITEMS + "i4\tA\tB\t1\n", 5, "4 fields"),
        (
            ITEM.replace("i_vec", "i-vec") + "i4\tA\tB\t1\t1\n",
            None,
            "'i-vec' cannot name a modality",
        ),
        (ITEM.replace("i_vec:float_seq", "i_vec:floats") + "i4\tA\tB\t1\t1\n", 1, "'float'"),
    ],
)
def test_a_malformed_item_file_is_named(rejects, content, line, what):
    rejects(
        {"ml.inter": INTER, "ml.item": content}, f"ml.item:{line}: " if line else "ml.item: ", what
    )


def test_skip_leaves_a_line_with_a_bad_vector_out(read):
    bad = "i4\tA\tB\t1\t1 2 3\ni5\tA\tB\t1\tx x\n\tA\tB\t1\t5\ni6\tLast\tB\t1\t7 8\ni6\tAgain\tB\t1\t9 9\n"  # noqa: E501
    data = read({"ml.inter": INTER, "ml.item": ITEMS + bad}, on_error="skip")
    assert data.items["item"].to_list() == ["i1", "i2", "i3", "i6"]
    vectors = data.features["i_vec"]
    assert dict(zip(vectors.item_ids, vectors.values.tolist(), strict=True))["i6"] == [7, 8]
    assert vectors.item_ids == ["i1", "i2", "i6"]
    assert data.notes == {"repeated items": 1}


def test_a_header_alone_gives_no_items_and_no_modality(read):
    data = read({"ml.inter": INTER, "ml.item": ITEM})
    assert data.items.is_empty()
    assert data.features == {}


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"a.inter": INTER, "b.inter": INTER}, "the *.inter files of: a, b"),
        ({**SPLITS, "ml.inter": INTER}, "ml.inter and files of its splits"),
        (
            {name: text for name, text in SPLITS.items() if "valid" not in name},
            "has no ml.valid.inter",
        ),
        ({**SPLITS, "ml.val.inter": INTER}, "is the valid split, and ml.val.inter too"),
        (
            {"ml.inter": INTER, "a.item": ITEMS, "b.item": ITEMS},
            "several item files: a.item, b.item",
        ),
        ({"ml.inter": INTER, "interactions.csv": "user,item\na,x\n"}, "fits recbole and table"),
    ],
)
def test_an_unclear_directory_is_refused(rejects, files, what):
    rejects(files, what)


def test_a_format_without_its_files_is_refused(rejects):
    rejects({"notes.txt": "hello"}, "raw: ", "the *.inter files of: nothing", format="recbole")
