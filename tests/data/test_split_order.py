"""Order in time: full precision, and the order of the file where times are equal."""

from __future__ import annotations

import random

import polars as pl
import pytest
from raw_files import fill

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.settings.data import PrepareConfig

LAST = {"u0": "i0", "u1": "i1", "u2": "i2", "u3": "i0"}
ITEMS = {"u0": "3210", "u1": "4321", "u2": "5432", "u3": "5430"}
"""Items of each user in time: the last one has the lowest id."""
STEPS = {
    "seconds": lambda n: 1_700_000_000 + n,
    "fractions": lambda n: 1_700_000_000 + n / 5,
    "milliseconds": lambda n: 1_700_000_000_000 + 200 * n,
    "nanoseconds": lambda n: 1_700_000_000_000_000_000 + n,
    "ISO": lambda n: f"2023-11-14T22:13:20.{2 * n}Z",
    "ISO nanoseconds": lambda n: f"2023-11-14 22:13:20.00000000{n}",
}


def rows(step):
    return [
        (user, f"i{item}", step(n)) for user, items in ITEMS.items() for n, item in enumerate(items)
    ]


def last_items(directory, tmp_path, split):
    options = PrepareConfig(k_core=0, split=split, text_dim=2)
    prepare(directory, tmp_path / "out", options, overwrite=True)
    dataset = Dataset.open(tmp_path / "out")
    pairs = dataset.interactions("test").select("user", "item").rows()
    return {dataset.users[user]: dataset.items[item] for user, item in pairs}


@pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
@pytest.mark.parametrize("kind", STEPS)
def test_the_last_in_time_is_the_test(tmp_path, kind, split):
    table = rows(STEPS[kind])
    random.Random(5).shuffle(table)
    text = "user,item,timestamp\n" + "".join(f"{u},{i},{time}\n" for u, i, time in table)
    directory = fill(tmp_path / "raw", {"interactions.csv": text})
    assert last_items(directory, tmp_path, split) == LAST


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_parquet_times_keep_their_precision(tmp_path, unit):
    table = pl.DataFrame(rows(lambda n: n), schema=["user", "item", "timestamp"], orient="row")
    frame = table.with_columns(pl.col("timestamp").cast(pl.Datetime(unit)))
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    directory = fill(tmp_path / "raw", {"interactions.parquet": shuffled})
    assert last_items(directory, tmp_path, "leave-one-out") == LAST


@pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
@pytest.mark.parametrize("layout", ["table", "mmrec", "recbole", "movielens"])
def test_equal_times_keep_the_order_of_the_file(tmp_path, layout, split):
    name, header, separator = {
        "table": ("interactions.csv", "user,item,rating,timestamp\n", ","),
        "mmrec": ("x.inter", "userID\titemID\trating\ttimestamp\n", "\t"),
        "recbole": (
            "x.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n",
            "\t",
        ),
        "movielens": ("ratings.dat", "", "::"),
    }[layout]
    lines = [separator.join((user, item, "5", str(time))) for user, item, time in rows(lambda _: 7)]
    content = header + "".join(line + "\n" for line in lines)
    assert last_items(fill(tmp_path / "raw", {name: content}), tmp_path, split) == LAST


def test_equal_times_of_reviews_keep_the_order_of_the_file(tmp_path):
    reviews = [
        {"reviewerID": user, "asin": item, "overall": 5, "unixReviewTime": time}
        for user, item, time in rows(lambda _: 7)
    ]
    directory = fill(tmp_path / "raw", {"X_5.json": reviews})
    assert last_items(directory, tmp_path, "leave-one-out") == LAST


def test_the_earliest_of_a_repeated_pair_stays(tmp_path):
    lines = ["a,x,3.5,9.25", "a,x,5,9.2", "a,y,1,9.2", "a,y,2,9.2", "a,z,1,1", "a,w,1,2"]
    text = "user,item,rating,timestamp\n" + "\n".join(lines) + "\n"
    directory = fill(tmp_path / "raw", {"interactions.csv": text})
    result = prepare(directory, tmp_path / "out", PrepareConfig(k_core=0, split="leave-one-out"))
    dataset = Dataset.open(tmp_path / "out")
    ratings = {
        dataset.items[item]: rating
        for split in ("train", "valid", "test")
        for item, rating in dataset.interactions(split).select("item", "rating").rows()
    }
    assert result.left_out == {"repeated interactions": 2}
    assert ratings == {"x": 5.0, "y": 1.0, "z": 1.0, "w": 1.0}
    assert [dataset.items[item] for item in dataset.interactions("test")["item"]] == ["y"]
