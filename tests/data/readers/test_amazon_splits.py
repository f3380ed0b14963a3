"""The splits that Amazon 2023 publishes."""

from __future__ import annotations

import pytest

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.settings.data import PrepareConfig

HEADER = "user_id,parent_asin,rating,timestamp"
ROWS = {
    "train": ["AE0,B000000008,4.0,1600003600000", "AE1,B000000011,5.0,1600007200000"],
    "valid": ["AE0,B000000011,1.0,1600021600500"],
    "test": ["AE1,B000000008,2.0,1600025200000"],
}


def files(name="X", history=False, suffix=".csv"):
    end = ",history" if history else ""
    return {
        f"{name}.{split}{suffix}": "\n".join(
            [HEADER + end, *(row + (",B000000001 B000000002" if history else "") for row in rows)]
        )
        + "\n"
        for split, rows in ROWS.items()
    }


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_the_published_split_is_kept(raw, tmp_path, history, suffix):
    schema = prepare(
        raw(files(history=history, suffix=suffix)), tmp_path / "out", PrepareConfig()
    ).schema
    dataset = Dataset.open(tmp_path / "out")
    assert schema.split_method == "given"
    for split, rows in ROWS.items():
        pairs = dataset.interactions(split).select("user", "item").rows()
        assert {(dataset.users[user], dataset.items[item]) for user, item in pairs} == {
            tuple(row.split(",")[:2]) for row in rows
        }


def test_times_of_the_splits_agree(read):
    times = read(files()).interactions["timestamp"].to_list()
    assert times == [1600003600.0, 1600007200.0, 1600021600.5, 1600025200.0]


def test_reviews_beside_a_published_split_are_counted(read):
    review = {"user_id": "AE9", "parent_asin": "B000000001", "rating": 5, "timestamp": 1}
    data = read({**files(), "X.jsonl": [review]})
    assert data.notes == {"review files (the published split is read instead)": 1}
    assert "AE9" not in data.interactions["user"].to_list()


def test_an_incomplete_or_mixed_split_is_refused(rejects):
    part = files()
    del part["X.valid.csv"]
    rejects(part, "has no X.valid.csv beside the other splits")


def test_splits_of_two_categories_are_refused(rejects):
    two = {**files(), "Y.train.csv": files("Y")["Y.train.csv"]}
    rejects(two, "Y.train.csv: is the train split, and X.train.csv too")


def test_a_table_beside_a_split_is_refused(rejects):
    rejects({**files(), "X.csv": files()["X.train.csv"]}, "X.csv: is beside a published split")
