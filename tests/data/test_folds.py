"""Splits into folds, and the directory that `prepare` writes of them."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.folds import can_replace, is_folds, open_datasets, open_folds
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.split_methods import (
    TEST,
    TRAIN,
    VALID,
    global_time_split,
    k_fold_splits,
    rolling_splits,
)
from ld4mrec_cli.data.splits import LEFT_OUT
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import DatasetError, OutputError, SourceError

arrays = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40)), min_size=1, max_size=120).map(
    lambda pairs: tuple(np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
)


@given(data=arrays, n_folds=st.integers(2, 7), seed=st.integers(0, 99))
def test_k_folds_test_every_interaction_once_and_leave_training_data(data, n_folds, seed):
    users, _ = data
    folds = k_fold_splits(users, n_folds, 0.2, np.random.default_rng(seed))
    assert len(folds) == n_folds
    n_tests = sum((labels == TEST).astype(int) for labels in folds)
    is_short = np.bincount(users)[users] < 3
    assert (n_tests == np.where(is_short, 0, 1)).all()
    for labels in folds:
        assert set(labels.tolist()) <= {TRAIN, VALID, TEST}
        assert set(users[labels != TRAIN]) <= set(users[labels == TRAIN])


def test_k_folds_are_even_and_follow_their_generator():
    users = np.repeat(np.arange(300), 4)  # shorter than the folds are many
    folds, again, other = (
        k_fold_splits(users, 5, 0.1, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    sizes = [int((labels == TEST).sum()) for labels in folds]
    assert sum(sizes) == len(users)
    assert max(sizes) - min(sizes) < 60
    assert all((a == b).all() for a, b in zip(folds, again, strict=True))
    assert any((a != b).any() for a, b in zip(folds, other, strict=True))


@given(data=arrays, n_folds=st.integers(2, 4))
def test_rolling_folds_train_on_the_past_of_their_window_alone(data, n_folds):
    users, times = data
    folds = rolling_splits(users, times, n_folds, 0.1, 0.15)
    last = global_time_split(users, times, 0.1, 0.15)
    assert (folds[-1] == last).all()
    tested = np.zeros(len(users), dtype=int)
    for labels in folds:
        parts = [times[labels == label] for label in (TRAIN, VALID, TEST)]
        for early, late in ((0, 1), (1, 2), (0, 2)):
            if len(parts[early]) and len(parts[late]):
                assert parts[early].max() < parts[late].min()
        assert set(users[(labels == VALID) | (labels == TEST)]) <= set(users[labels == TRAIN])
        tested += labels == TEST
    assert tested.max(initial=0) <= 1


def test_rolling_windows_of_a_plain_time_line():
    times = np.arange(20)
    users = np.zeros(20, dtype=np.int64)
    first, second, third = rolling_splits(users, times, 3, 0.1, 0.2)
    for fold, start in ((first, 8), (second, 12), (third, 16)):
        expected = np.full(20, LEFT_OUT)
        expected[: start - 2], expected[start - 2 : start] = TRAIN, VALID
        expected[start : start + 4] = TEST
        assert fold.tolist() == expected.tolist()


def test_times_are_compared_with_all_their_digits():
    times = 2**60 + np.arange(20)  # a float cannot tell these apart
    labels = rolling_splits(np.zeros(20, dtype=np.int64), times, 2, 0.1, 0.2)[0]
    assert [(labels == one).sum() for one in (TRAIN, VALID, TEST, LEFT_OUT)] == [10, 2, 4, 4]


@pytest.fixture
def raw(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["user,item,timestamp"]
    lines += [
        f"u{user},i{item},{int(rng.integers(0, 10**6))}"
        for user in range(30)
        for item in rng.permutation(25)[:12]
    ]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "interactions.csv").write_text("\n".join(lines))
    ids = np.array([f"i{n}" for n in range(25)])
    features = rng.normal(size=(25, 3)).astype(np.float32)
    np.savez(tmp_path / "raw" / "image_feat.npz", ids=ids, features=features)
    return tmp_path / "raw"


@pytest.mark.parametrize("method", ["k-fold", "rolling"])
def test_folds_have_the_same_users_items_and_features(raw, tmp_path, method):
    out = tmp_path / "data"
    prepared = prepare(raw, out, PrepareConfig(split=method, folds=3, k_core=0))
    assert is_folds(out)
    folds = open_folds(out)
    assert [one.name for one in folds] == ["data-fold-1", "data-fold-2", "data-fold-3"]
    assert [one.schema for one in folds] == prepared.schemas
    assert len({one.hash for one in folds}) == 3
    for file in ("users.parquet", "items.parquet", "features/image.npy"):
        assert len({one.schema.files[file] for one in folds}) == 1
    for number, one in enumerate(folds, start=1):
        assert one.schema.split_method == method
        assert one.schema.provenance["fold"] == {"number": number, "of": 3}
    tests = pl.concat([one.interactions("test").select("user", "item") for one in folds])
    assert not tests.is_duplicated().any()
    if method == "k-fold":
        assert len(tests) == 30 * 12
    assert open_datasets([out, out / "fold-1"])[-1].hash == folds[0].hash


def test_the_same_input_gives_the_same_folds(raw, tmp_path):
    for name in ("a", "b"):
        prepare(raw, tmp_path / name, PrepareConfig(split="k-fold", folds=2))
    for fold in ("fold-1", "fold-2"):
        files = [Dataset.open(tmp_path / name / fold).schema.files for name in ("a", "b")]
        assert files[0] == files[1]


def test_folds_are_replaced_as_a_whole_and_only_if_they_hold_nothing_else(raw, tmp_path):
    out, options = tmp_path / "data", PrepareConfig(split="k-fold", folds=3)
    prepare(raw, out, options)
    with pytest.raises(OutputError, match="exists"):
        prepare(raw, out, options)
    (out / "notes.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"holds 'notes\.txt', which is no part of the folds"):
        prepare(raw, out, options, overwrite=True)
    (out / "notes.txt").unlink()
    (out / "fold-1" / "mine").write_text("precious")
    with pytest.raises(OutputError, match="holds 'mine'"):
        can_replace(out)
    (out / "fold-1" / "mine").unlink()
    prepare(raw, out, PrepareConfig(), overwrite=True)
    assert not is_folds(out)
    prepare(raw, out, PrepareConfig(split="k-fold", folds=2), overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["fold-1", "fold-2", "folds.json"]


def test_a_directory_of_folds_is_no_dataset_and_a_damaged_one_is_refused(raw, tmp_path):
    out = tmp_path / "data"
    prepare(raw, out, PrepareConfig(split="k-fold", folds=2))
    with pytest.raises(DatasetError, match=r"holds folds, each a dataset\. Name one of them"):
        Dataset.open(out)
    index = json.loads((out / "folds.json").read_text())
    for folds in (["fold-1", "../elsewhere"], "fold-1", []):
        (out / "folds.json").write_text(json.dumps({**index, "folds": folds}))
        with pytest.raises(DatasetError, match="is damaged or of another version"):
            open_folds(out)


def test_rolling_needs_times_and_windows_that_fit(raw, tmp_path):
    text = (raw / "interactions.csv").read_text().splitlines()
    bare = [",".join(line.split(",")[:2]) for line in text]
    (raw / "interactions.csv").write_text("\n".join(bare))
    with pytest.raises(SourceError, match="has no timestamps for the rolling split"):
        prepare(raw, tmp_path / "data", PrepareConfig(split="rolling"))
    with pytest.raises(ValueError, match="must stay below 1"):
        PrepareConfig(split="rolling", folds=9)
    with pytest.raises(ValueError, match="folds is for the splits k-fold and rolling"):
        PrepareConfig(folds=3)
