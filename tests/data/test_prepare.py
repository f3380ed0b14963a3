from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from raw_files import assert_rejected, fill, snapshot

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import Prepared, default_dataset_path, prepare
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import DatasetError, OutputError, SourceError

SPLITS = ("train", "valid", "test")


def square(n: int, extra: str = "") -> str:
    """Every one of n users with every one of n items, one item after the other."""
    rows = [f"u{user},i{item},{user + n * item}" for user in range(n) for item in range(n)]
    return "user,item,timestamp\n" + "\n".join(rows) + "\n" + extra


@pytest.fixture
def make(raw, tmp_path):
    """Prepare a raw directory of the given files: the opened dataset and what prepare tells."""

    def run(files, **options) -> tuple[Dataset, Prepared]:
        told = prepare(raw(files), tmp_path / "out", PrepareConfig(**options), overwrite=True)
        return Dataset.open(tmp_path / "out"), told

    return run


def raw_pairs(dataset: Dataset, split: str) -> set[tuple[str, str]]:
    rows = dataset.interactions(split).select("user", "item").rows()
    return {(dataset.users[user], dataset.items[item]) for user, item in rows}


def test_given_labels_are_kept_and_nothing_is_filtered(make):
    lines = "a,x,0\na,y,1\nb,x,0\nb,z,2\nc,w,1\n"
    dataset, told = make({"interactions.csv": "user,item,x_label\n" + lines})
    assert told.schema.split_method == "given"
    assert [raw_pairs(dataset, split) for split in SPLITS] == [
        {("a", "x"), ("b", "x")},
        {("a", "y"), ("c", "w")},
        {("b", "z")},
    ]
    assert dataset.users.ids == ["a", "b", "c"]
    assert dataset.items.ids == ["w", "x", "y", "z"]


@pytest.mark.parametrize("split", ["random", "temporal", "leave-one-out", "global-time"])
def test_splits_share_out_every_interaction_once(make, split):
    dataset, told = make({"interactions.csv": square(10)}, split=split)
    parts = [raw_pairs(dataset, name) for name in SPLITS]
    assert told.left_out == {}
    assert len(set.union(*parts)) == 100
    assert list(map(len, parts)) == [80, 10, 10]
    if split != "random":
        assert parts[2] == {(f"u{user}", "i9") for user in range(10)}


def test_held_out_interactions_of_users_without_training_data_are_counted(make):
    dataset, told = make(
        {"interactions.csv": square(10, "late,i0,999\n")}, split="global-time", k_core=0
    )
    assert told.left_out == {"held-out interactions of users without training data": 1}
    assert sum(len(raw_pairs(dataset, name)) for name in SPLITS) == 100


def test_filters_count_what_they_leave_out(make):
    rows = [f"u{user},i{item},5,{item}" for user in range(6) for item in range(6)]
    more = ["u0,i0,5,99", "u0,lone,5,1", "u1,i2,1,1"]
    csv = "user,item,rating,timestamp\n" + "\n".join(rows + more) + "\n"
    dataset, told = make({"interactions.csv": csv}, min_rating=2, split="leave-one-out")
    assert told.left_out == {
        "interactions rated below 2": 1,
        "repeated interactions": 1,
        "interactions outside the 5-core": 1,
    }
    assert dataset.shape == (6, 6)
    assert raw_pairs(dataset, "test") == {(f"u{user}", "i5") for user in range(6)}, (
        "the earliest of a pair is kept"
    )


@pytest.mark.parametrize(
    ("content", "options", "what"),
    [
        (square(4), {}, "filtering leaves no interaction"),
        (square(2), {"k_core": 0}, "the valid split is empty"),
        ("user,item,split\na,x,0\nb,y,1\n", {}, "the test split is empty"),
    ],
)
def test_a_split_left_empty_is_refused(make, tmp_path, content, options, what):
    with pytest.raises(DatasetError, match=what):
        make({"interactions.csv": content}, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"split": "given"}, "no split labels"),
        ({"split": "temporal"}, "no timestamps"),
        ({"split": "global-time"}, "no timestamps"),
        ({"min_rating": 3}, "no ratings"),
    ],
)
def test_options_that_the_source_cannot_serve_are_refused(make, options, what):
    with pytest.raises(SourceError, match=f"raw: .*{what}"):
        make({"interactions.csv": "user,item\na,x\n"}, **options)


def test_features_follow_the_items_and_missing_ones_are_imputed(make):
    keyed = pl.DataFrame({"item": ["i5", "i0", "other", "i1"], "v": [[6.0], [3.0], [99.0], [0.0]]})
    dataset, told = make({"interactions.csv": square(6), "image_feat.parquet": keyed})
    image = dataset.modality("image")
    assert dict(zip(dataset.items.ids, image.values[:, 0].tolist(), strict=True)) == {
        "i0": 3, "i1": 0, "i2": 3, "i3": 3, "i4": 3, "i5": 6
    }  # fmt: skip
    assert image.present.tolist() == [True, True, False, False, False, True]
    assert told.schema.modalities["image"].items_with_feature == 3


def test_features_of_no_item_are_refused(make):
    keyed = pl.DataFrame({"item": ["z"], "v": [[6.0]]})
    with pytest.raises(SourceError, match=r"image_feat\.parquet: has a feature for none"):
        make({"interactions.csv": square(6), "image_feat.parquet": keyed})


def test_titles_and_text_come_from_the_items(make):
    words = ["red hat", "blue hat", "red glove", "blue glove", "", "red scarf"]
    items = "item,title\n" + "".join(f"i{number},{text}\n" for number, text in enumerate(words))
    dataset, told = make({"interactions.csv": square(6), "items.csv": items}, text_dim=2)
    assert dataset.titles == [text or None for text in words]
    assert told.schema.modalities["text"].dim == 2
    assert dataset.modality("text").present.tolist() == [True, True, True, True, False, True]


def test_items_and_interactions_need_not_know_each_other(make):
    dataset, told = make(
        {"interactions.csv": square(6), "items.csv": "item,title\ni1,red hat\nnever,other\n"}
    )
    assert dataset.titles == [None, "red hat", None, None, None, None]
    assert told.left_out == {}
    dataset, _ = make({"interactions.csv": square(6), "items.csv": "item,title\n"})
    assert dataset.titles is None


def test_the_items_without_content_are_counted(make):
    items = "item,title\ni1,red hat\nnever,other\n"
    _, result = make({"interactions.csv": square(6), "items.csv": items})
    assert result.messages[-1] == "items.csv has 1 of the 6 items; without title or text: 5"
    whole = "item,title\n" + "".join(f"i{n},red hat\n" for n in range(7))
    _, result = make({"interactions.csv": square(6), "items.csv": whole})
    assert not [message for message in result.messages if "items.csv" in message]


INTER = "userID\titemID\tx_label\n0\t1\t0\n0\t2\t1\n0\t3\t2\n"
ATOMIC = "user_id:token\titem_id:token\n" + "".join(f"u\t{n}\n" for n in range(1, 6))
REVIEWS = [
    {"reviewerID": "A1", "asin": f"{n}", "overall": 5, "unixReviewTime": n} for n in range(1, 6)
]
MOVIELENS = "userId,movieId,rating,timestamp\n" + "".join(f"1,{n},5,{n}\n" for n in range(1, 6))


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"interactions.csv": square(6), "items.csv": "item,title\n01,red\n"}, "items.csv"),
        ({"x.inter": INTER, "items.tsv": "itemID\ttitle\n01\tred\n"}, "items.tsv"),
        ({"x.inter": ATOMIC, "x.item": "item_id:token\ttitle:token\n01\tred\n"}, "x.item"),
        ({"X_5.json": REVIEWS, "meta_X.json": [{"asin": "01", "title": "red"}]}, "meta_X.json"),
        (
            {"ratings.csv": MOVIELENS, "movies.csv": "movieId,title,genres\n01,red,War\n"},
            "movies.csv",
        ),
    ],
)
def test_an_item_table_of_other_items_is_refused(make, tmp_path, files, name):
    with pytest.raises(SourceError) as caught:
        make(files, k_core=0)
    message = str(caught.value)
    assert f"{name}: has none of the" in message
    first = "i0" if name == "items.csv" else "1"
    assert f"An item is '01' here and '{first}' there" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (
            {},
            [
                "5-core (the default; --k-core 0 keeps all): 1 of 7 users and 2 of 8 items "
                "are left out"
            ],
        ),
        ({"k_core": 5}, ["5-core: 1 of 7 users and 2 of 8 items are left out"]),
        ({"k_core": 6}, ["6-core: 1 of 7 users and 2 of 8 items are left out"]),
        ({"k_core": 0}, []),
        ({"k_core": 1}, []),
    ],
)
def test_the_cost_of_the_k_core_is_named(make, options, messages):
    _, result = make({"interactions.csv": square(6, "late,i8,99\nlate,i9,99\n")}, **options)
    assert result.messages == messages


def test_a_given_split_has_no_k_core_by_default(make):
    lines = "a,x,0\na,y,1\nb,z,2\n"
    _, result = make({"interactions.csv": "user,item,x_label\n" + lines})
    assert result.messages == []


def test_an_empty_result_names_the_default_k_core(make):
    with pytest.raises(DatasetError, match=r"Lower --k-core \(5 is the default\)"):
        make({"interactions.csv": square(4)})
    with pytest.raises(DatasetError, match=r"Lower --k-core \(it is 9\)"):
        make({"interactions.csv": square(4)}, k_core=9)


@pytest.mark.parametrize("name", ["orders", "orders.csv", "orders.tsv.gz"])
def test_a_dataset_is_called_after_its_raw_files(tmp_path, name):
    path = tmp_path / name
    path.write_text("user,item\n") if "." in name else path.mkdir()
    assert default_dataset_path(path) == Path("data") / "orders"


def test_ready_made_text_features_are_not_replaced(make):
    items = "item,title\n" + "".join(f"i{number},red hat\n" for number in range(6))
    ready = np.arange(6, dtype=np.float32).reshape(6, 1)
    dataset, _ = make({"interactions.csv": square(6), "items.csv": items, "text_feat.npy": ready})
    assert (dataset.modality("text").values == ready).all()


def test_twice_the_same_is_byte_for_byte_the_same(planted_raw, tmp_path):
    options = PrepareConfig(k_core=3, text_dim=8, seed=2)
    for parent in ("first", "second"):
        prepare(planted_raw, tmp_path / parent / "data", options)
    prepare(planted_raw, tmp_path / "other" / "data", options.model_copy(update={"seed": 3}))
    first, second, other = (snapshot(tmp_path / parent) for parent in ("first", "second", "other"))
    assert first == second
    assert first["data/train.parquet"] != other["data/train.parquet"]


def test_provenance_names_the_files_and_options(planted_raw, prepared):
    provenance = Dataset.open(prepared).schema.provenance
    hashes = snapshot(planted_raw)
    assert {file["name"]: file["sha256"] for file in provenance["files"]} == hashes
    assert provenance["options"]["k_core"] == 3
    assert provenance["options"]["text_dim"] == 8


def test_an_error_leaves_the_old_output_and_nothing_else(raw, tmp_path, prepared):
    out = shutil.copytree(prepared, tmp_path / "out")
    before = snapshot(out)
    good = fill(tmp_path / "good", {"interactions.csv": square(6)})
    bad = raw({"interactions.csv": "user,item\na\n"})
    assert_rejected(lambda: prepare(good, out, PrepareConfig()), "out: exists", "--overwrite")
    assert_rejected(
        lambda: prepare(bad, out, PrepareConfig(), overwrite=True), "interactions.csv:2"
    )
    assert_rejected(lambda: prepare(bad, tmp_path / "new", PrepareConfig()), "interactions.csv:2")
    assert snapshot(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "out", "raw"]
    prepare(good, out, PrepareConfig(), overwrite=True)
    assert Dataset.open(out).shape == (6, 6)


def test_the_raw_directory_is_not_overwritten(raw):
    directory = raw({"interactions.csv": square(6)})
    before = snapshot(directory)
    with pytest.raises(OutputError, match="not written by ld4mrec"):
        prepare(directory, directory, PrepareConfig(), overwrite=True)
    assert snapshot(directory) == before


def test_tiktok_keeps_its_splits_and_finite_features(real_data, tmp_path):
    schema = prepare(real_data("tiktok"), tmp_path / "tiktok", PrepareConfig()).schema
    assert (schema.n_users, schema.n_items) == (9308, 6710)
    assert [schema.splits[split].interactions for split in SPLITS] == [59541, 3051, 6130]
    assert list(schema.modalities) == ["audio", "image"]
    image = Dataset.open(tmp_path / "tiktok").modality("image")
    assert image.values.dtype == np.float32
    assert np.isfinite(image.values).all()


def test_gift_cards_have_titles_and_a_text_modality(real_data, tmp_path):
    schema = prepare(
        real_data("amazon_gift_cards"), tmp_path / "cards", PrepareConfig(split="temporal")
    ).schema
    dataset = Dataset.open(tmp_path / "cards")
    assert list(schema.modalities) == ["text"]
    assert sum("Gift Card" in (title or "") for title in dataset.titles) > 50
    assert dataset.modality("text").coverage > 0.9
