from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.data.filters import k_core
from ld4mrec_cli.data.split_methods import (
    TEST,
    TRAIN,
    VALID,
    global_time_split,
    leave_one_out_split,
    random_split,
    temporal_split,
)
from ld4mrec_cli.data.splits import LEFT_OUT

Split = Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]
PER_USER: dict[str, Split] = {
    "random": lambda users, times, valid, test: random_split(
        users, valid, test, np.random.default_rng(0)
    ),
    "temporal": temporal_split,
}

arrays = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40)), min_size=1, max_size=120).map(
    lambda pairs: tuple(np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
)
shares = st.tuples(st.floats(0, 0.98), st.floats(0, 0.98)).filter(lambda pair: sum(pair) < 0.99)


def counts(labels: np.ndarray) -> tuple[int, int, int]:
    return tuple(int((labels == label).sum()) for label in (TRAIN, VALID, TEST))


@pytest.mark.parametrize("name", PER_USER)
@given(data=arrays, ratios=shares)
def test_a_user_with_held_out_data_keeps_training_data(name, data, ratios):
    users, times = data
    labels = PER_USER[name](users, times, *ratios)
    assert set(labels) <= {TRAIN, VALID, TEST}
    assert set(users[labels != TRAIN]) <= set(users[labels == TRAIN])


@pytest.mark.parametrize("name", PER_USER)
@given(n=st.integers(3, 200), ratios=shares)
def test_shares_of_a_user_are_rounded_and_at_least_one(name, n, ratios):
    labels = PER_USER[name](np.zeros(n, dtype=np.int64), np.arange(n), *ratios)
    valid, test = (max(1, int(np.round(n * ratio))) if ratio else 0 for ratio in ratios)
    if valid + test < n:
        assert counts(labels) == (n - valid - test, valid, test)
    else:
        assert counts(labels)[TRAIN] == 1
        assert counts(labels)[VALID] >= (ratios[0] > 0)
        assert counts(labels)[TEST] >= (ratios[1] > 0)


@pytest.mark.parametrize(
    ("n", "expected"), [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1)), (10, (8, 1, 1))]
)
def test_users_with_few_interactions(n, expected):
    users = np.zeros(n, dtype=np.int64)
    assert counts(random_split(users, 0.1, 0.1, np.random.default_rng(0))) == expected


def test_a_large_test_share_is_honored_for_a_short_history():
    assert counts(temporal_split(np.zeros(10, dtype=np.int64), np.arange(10), 0.0, 0.8)) == (
        2,
        0,
        8,
    )


def test_random_split_follows_its_generator():
    users = np.repeat(np.arange(20), 10)
    first, again, other = (
        random_split(users, 0.2, 0.2, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


@given(data=arrays, ratios=shares)
def test_temporal_split_holds_out_nothing_earlier_than_a_users_training_data(data, ratios):
    users, times = data
    labels = temporal_split(users, times, *ratios)
    for user in set(users):
        parts = [times[(users == user) & (labels == label)] for label in (TRAIN, VALID, TEST)]
        ends = [value for part in parts if len(part) for value in (part.min(), part.max())]
        assert ends == sorted(ends)


def test_temporal_split_keeps_the_given_order_in_ties():
    labels = temporal_split(np.zeros(5, dtype=np.int64), np.full(5, 7), 0.2, 0.2)
    assert labels.tolist() == [TRAIN, TRAIN, TRAIN, VALID, TEST]


@given(data=arrays, ratios=shares)
def test_global_time_split_cuts_the_time_line(data, ratios):
    users, times = data
    labels = global_time_split(users, times, *ratios)
    parts = [times[labels == label] for label in (TRAIN, VALID, TEST)]
    filled = [part for part in parts if len(part)]
    assert all(earlier.max() < later.min() for earlier, later in pairwise(filled))
    assert set(users[labels > TRAIN]) <= set(users[labels == TRAIN])
    assert not set(users[labels == LEFT_OUT]) & set(users[labels == TRAIN])


def test_global_time_split_known_answer():
    users = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
    labels = global_time_split(users, np.arange(10), 0.2, 0.2)
    assert labels.tolist() == [TRAIN] * 6 + [VALID] * 2 + [LEFT_OUT, TEST]


def test_global_time_split_keeps_an_instant_together():
    labels = global_time_split(
        np.zeros(10, dtype=np.int64), np.array([0, 1, 2, 3, 4, 5, 6, 9, 9, 9]), 0.2, 0.1
    )
    assert labels[7:].tolist() == [TEST] * 3


@given(data=arrays)
def test_leave_one_out_takes_the_last_two_of_users_with_three(data):
    users, times = data
    labels = leave_one_out_split(users, times)
    for user in set(users):
        own = users == user
        enough = own.sum() >= 3
        assert counts(labels[own]) == (own.sum() - 2 * enough, enough, enough)
        if enough:
            assert times[own & (labels == TEST)][0] == times[own].max()
            assert times[own & (labels == VALID)][0] >= times[own & (labels == TRAIN)].max()


def peel(pairs: list[tuple[int, int]], k: int) -> set[int]:
    """The k-core by its definition: drop one offender at a time."""
    kept = set(range(len(pairs)))
    while True:
        bad = next(
            (
                (side, value)
                for side in (0, 1)
                for value in {pairs[index][side] for index in kept}
                if sum(pairs[index][side] == value for index in kept) < k
            ),
            None,
        )
        if bad is None:
            return kept
        kept = {index for index in kept if pairs[index][bad[0]] != bad[1]}


@given(
    pairs=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=40).map(sorted),
    k=st.integers(0, 5),
)
def test_k_core_is_what_peeling_one_by_one_leaves(pairs, k):
    users, items = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    kept = k_core(users, items, k)
    assert set(np.flatnonzero(kept)) == peel(pairs, k)
    assert k_core(users[kept], items[kept], k).all()


def test_k_core_cascades():
    # a 2×2 block, and a chain hanging from it that falls link by link
    users = np.array([0, 0, 1, 1, 1, 2, 2, 3])
    items = np.array([0, 1, 0, 1, 2, 2, 3, 3])
    assert k_core(users, items, 2).tolist() == [True] * 4 + [False] * 4
