"""Weights in a dataset: one for each pair of user and item, and none that knows the future."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from event_files import planted_events
from hypothesis import given
from hypothesis import strategies as st
from raw_files import fill, snapshot

from ld4mrec_cli.config import config_from_mapping
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.inspect.inspection import inspect
from ld4mrec_cli.data.noise.inject import inject_noise
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.row_values import RowValues, to_matrix
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, DatasetError, SourceError
from ld4mrec_cli.utils.files import sha256

BY_TYPE = {"columns": {"event": "type"}, "event_weights": {"view": 1, "cart": 3, "buy": 10}}


@pytest.fixture
def prepared(tmp_path):
    """Prepare a table of events: the result and the opened dataset."""

    def make(table: str, out: str = "data", **options):
        raw = fill(tmp_path / f"raw-{out}", {"interactions.csv": table})
        given = {"split": "none", "k_core": 0, **BY_TYPE, **options}
        report = prepare(raw, tmp_path / out, PrepareConfig(**given))
        return report, Dataset.open(tmp_path / out)

    return make


def weights_of(dataset: Dataset, split: str = "train") -> dict[tuple[str, str], float]:
    table = dataset.interactions(split)
    return {
        (dataset.users[user], dataset.items[item]): weight
        for user, item, weight in table.select("user", "item", "weight").iter_rows()
    }


REPEATED = "user,item,type\na,x,view\na,x,view\na,x,buy\na,y,cart\nb,x,view\nb,x,view\n"


def test_repeated_events_weigh_as_the_largest_or_as_their_sum(prepared):
    _, dataset = prepared(REPEATED)
    assert weights_of(dataset) == {("a", "x"): 10.0, ("a", "y"): 3.0, ("b", "x"): 1.0}
    report, dataset = prepared(REPEATED, "sum", combine_weights="sum")
    assert weights_of(dataset) == {("a", "x"): 12.0, ("a", "y"): 3.0, ("b", "x"): 2.0}
    assert report.left_out == {"repeated interactions": 3}


def test_the_report_names_the_events_and_their_weights(prepared):
    report, dataset = prepared(
        REPEATED + "b,y,buy\n", event_weights={**BY_TYPE["event_weights"], "wish": 2}
    )
    assert report.messages[:2] == [
        "events: view 4 (weight 1), buy 2 (weight 10), cart 1 (weight 3)",
        "no event is 'wish', which has a weight",
    ]
    assert report.messages[2].startswith("weights: 1 to 10, mean 6; the largest of")
    assert dataset.schema.provenance["events"] == {"view": 4, "buy": 2, "cart": 1}


def test_an_event_of_weight_zero_is_left_out_and_counted(prepared):
    report, dataset = prepared(REPEATED, event_weights={"view": 0, "cart": 3, "buy": 10})
    assert weights_of(dataset) == {("a", "x"): 10.0, ("a", "y"): 3.0}
    assert report.left_out["events of weight 0"] == 4
    assert dataset.users.ids == ["a"]


def test_nothing_but_weights_of_zero_is_refused(prepared):
    with pytest.raises(SourceError, match="every event has weight 0"):
        prepared(REPEATED, event_weights=dict.fromkeys(("view", "cart", "buy"), 0))


def test_the_core_counts_interactions_not_weights(prepared):
    table = REPEATED + "b,y,view\nc,x,buy\n"
    _, dataset = prepared(table, k_core=2)
    assert dataset.users.ids == ["a", "b"]


def test_weights_of_one_are_no_weights(prepared, tmp_path):
    table = planted_events(n_users=40)
    ones = {"view": 1, "buy": 1.0}
    report, weighted = prepared(table, "data", split="given", event_weights=ones)
    raw = fill(tmp_path / "raw-plain", {"interactions.csv": table})
    prepare(raw, tmp_path / "plain" / "data", PrepareConfig())
    plain = Dataset.open(tmp_path / "plain" / "data")
    assert "weights: all are 1, as without weights" in report.messages
    assert weighted.hash == plain.hash
    ours, theirs = (snapshot(dataset.directory) for dataset in (weighted, plain))
    assert [name for name in ours if ours[name] != theirs[name]] == ["schema.json"]
    assert weighted.mean_weight("train") is None


def test_the_schema_of_data_without_weights_does_not_name_them(tmp_path):
    raw = fill(tmp_path / "raw", {"interactions.csv": planted_events(n_users=40)})
    schema = prepare(raw, tmp_path / "data", PrepareConfig()).schema
    assert not [key for key in schema.provenance["options"] if "weight" in key]
    assert "events" not in schema.provenance


def test_weights_are_part_of_the_hash(prepared):
    hashes = {
        prepared(REPEATED, f"data{weight}", event_weights={"view": 1, "cart": 3, "buy": weight})[
            1
        ].hash
        for weight in (5, 10)
    }
    assert len(hashes) == 2


# a buys x late: the view comes first, and the buy after the held-out interactions have begun.
IN_TIME = """user,item,type,time
a,x,view,1
a,y,view,2
a,z,cart,3
a,x,cart,4
a,v,view,5
a,w,buy,6
a,x,buy,7
b,x,buy,1
b,y,view,2
b,w,view,9
"""


@pytest.mark.parametrize("split", ["temporal", "leave-one-out", "global-time"])
def test_a_training_weight_does_not_know_the_future(prepared, split):
    options = {"split": split, "valid_ratio": 0.2, "test_ratio": 0.2}
    _, dataset = prepared(IN_TIME, **options)
    table = dataset.interactions("train").filter(pl.col("user") == dataset.users.index("a"))
    row = table.filter(pl.col("item") == dataset.items.index("x"))
    assert row["timestamp"].to_list() == [1]  # of the first event
    assert row["weight"].to_list() == [3.0]  # the cart came before the held-out items, the buy not
    _, whole = prepared(IN_TIME, "whole", split="none")
    assert weights_of(whole)["a", "x"] == 10.0
    _, random = prepared(IN_TIME, "random", **{**options, "split": "random"})
    every = weights_of(random) | weights_of(random, "valid") | weights_of(random, "test")
    assert every["a", "x"] == 10.0


def test_a_given_training_weight_does_not_know_the_test_split(prepared):
    table = "user,item,type,split\na,x,view,train\na,x,buy,test\na,y,view,valid\na,z,buy,test\n"
    _, dataset = prepared(table, split="given")
    assert weights_of(dataset) == {("a", "x"): 1.0}
    assert weights_of(dataset, "test") == {("a", "z"): 10.0}


@pytest.mark.slow
@given(
    events=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.5, 1.0, 4.0])),
        min_size=1,
        max_size=25,
    ),
    how=st.sampled_from(["max", "sum"]),
)
def test_any_events_combine_as_by_hand(tmp_path_factory, events, how):
    raw = tmp_path_factory.mktemp("events")
    rows = [f"u{user},i{item},{weight}" for user, item, weight in events]
    (raw / "interactions.csv").write_text("user,item,n\n" + "\n".join(rows))
    options = PrepareConfig(columns={"weight": "n"}, split="none", k_core=0, combine_weights=how)
    prepare(raw, raw / "data", options)
    dataset = Dataset.open(raw / "data")
    expected: dict[tuple[str, str], list[float]] = {}
    for user, item, weight in events:
        expected.setdefault((f"u{user}", f"i{item}"), []).append(weight)
    combined = {pair: (max if how == "max" else sum)(ws) for pair, ws in expected.items()}
    if set(combined.values()) == {1.0}:
        assert dataset.mean_weight("train") is None
    else:
        assert weights_of(dataset) == combined


def test_a_matrix_of_weights_has_the_mean_one(prepared):
    _, dataset = prepared(planted_events(n_users=40), split="given")
    mean = dataset.mean_weight("train", "valid")
    matrix = dataset.matrix("train", "valid", values=RowValues(mean))
    assert matrix.data.mean() == pytest.approx(1.0)
    assert len(np.unique(matrix.data)) == 2
    assert np.unique(matrix.data)[1] == pytest.approx(10 * np.unique(matrix.data)[0])
    assert (dataset.matrix("train").data == 1.0).all()
    assert (
        dataset.matrix("train") != matrix.astype(bool).multiply(dataset.matrix("train"))
    ).nnz == 0


def test_extreme_weights_do_not_vanish():
    table = pl.DataFrame({"user": [0, 0], "item": [0, 1], "weight": [1e-300, 1e9]})
    assert (to_matrix([table], (1, 2), RowValues(5e8)).data > 0.0).all()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.lit(0.0), "not positive"),
        (pl.lit(float("nan")), "not positive"),
        (pl.lit(None, pl.Float64), "not positive"),
        (pl.lit("much"), "no number"),
    ],
    ids=["zero", "nan", "null", "text"],
)
def test_a_damaged_weight_is_refused(prepared, column, message):
    _, dataset = prepared(REPEATED)
    path, schema_path = dataset.directory / "train.parquet", dataset.directory / "schema.json"
    pl.read_parquet(path, glob=False).with_columns(weight=column).write_parquet(path)
    schema = json.loads(schema_path.read_text())
    schema["files"][path.name] = sha256(path)
    schema_path.write_text(json.dumps(schema))
    with pytest.raises(DatasetError, match=message):
        Dataset.open(dataset.directory).interactions("train")


def test_noise_has_the_median_weight(prepared, tmp_path):
    _, dataset = prepared(planted_events(n_users=40), split="given")
    inject_noise(dataset.directory, tmp_path / "noisy", "random", 0.2, 0)
    noisy = Dataset.open(tmp_path / "noisy")
    added = noisy.interactions("train").join(
        dataset.interactions("train"), on=["user", "item"], how="anti"
    )
    assert len(added) > 50
    assert set(added["weight"]) == {dataset.interactions("train")["weight"].median()} == {1.0}


def test_inspection_shows_events_and_weights(prepared, tmp_path):
    _, dataset = prepared(REPEATED)
    whole = inspect(dataset.directory, PrepareConfig())
    assert [(e.event, e.interactions, e.weight) for e in whole.events] == [
        ("view", 4, 1.0),
        ("buy", 1, 10.0),
        ("cart", 1, 3.0),
    ]
    assert (whole.weights.min, whole.weights.max, whole.weights.distinct) == (1.0, 10.0, 3)
    raw = inspect(tmp_path / "raw-data", PrepareConfig(columns={"event": "type"}))
    assert [(e.event, e.weight) for e in raw.events] == [
        ("view", None),
        ("buy", None),
        ("cart", None),
    ]
    assert raw.weights is None
    plain = inspect(tmp_path / "raw-data", PrepareConfig())
    assert (plain.events, plain.weights) == ([], None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event_weights": {"view": 1}}, "need the column of the events"),
        ({"columns": {"event": "a", "weight": "b"}}, "names both event and weight"),
        ({"columns": {"event": "a"}, "event_weights": {"view": -1}}, "event_weights.view"),
        (
            {"columns": {"event": "a"}, "event_weights": {"view": float("nan")}},
            "event_weights.view",
        ),
        (
            {"columns": {"event": "a"}, "event_weights": {"view": float("inf")}},
            "event_weights.view",
        ),
        ({"columns": {"event": "a"}, "event_weights": {"view": 1e-12}}, "is below 1e-09"),
        ({"columns": {"event": "a"}, "event_weights": {True: 1}}, "quote it"),
        ({"columns": {"event": "a", "user": "a"}}, "event and user are both 'a'"),
        ({"combine_weights": "mean"}, "combine_weights"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        config_from_mapping({"prepare": options})
    assert message in str(error.value)


def test_events_that_yaml_reads_as_numbers_keep_their_digits():
    weights = PrepareConfig(
        columns={"event": "rating"}, event_weights={1: 0, 4.0: 1, 4.5: 2}
    ).event_weights
    assert weights == {"1": 0.0, "4": 1.0, "4.5": 2.0}
