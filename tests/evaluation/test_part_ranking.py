"""Lists by a weighted sum of parts, of which the scores are computed once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.part_ranking import PartRanker, count_kept_users
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError, rank

SCALES = (0.0, 0.25, 1.0, 8.0)


class Sum:
    """The parts of user u are row u of each table, in blocks of ``width`` items."""

    def __init__(self, tables: dict[str, np.ndarray], width: int) -> None:
        self.tables = {name: torch.from_numpy(table) for name, table in tables.items()}
        self.part_weights = dict.fromkeys(tables, 1.0)
        self.width = width
        self.n_scored = 0

    def _users(self, rows: csr_matrix) -> np.ndarray:
        return rows.data.astype(np.int64) - 1

    def score_parts(self, rows: csr_matrix):
        self.n_scored += rows.shape[0]
        at, n_items = self._users(rows), next(iter(self.tables.values())).shape[1]
        for start in range(0, n_items, self.width):
            stop = start + self.width
            yield {name: table[at, start:stop].clone() for name, table in self.tables.items()}

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> torch.Tensor:
        total = torch.zeros(rows.shape)
        for name, table in self.tables.items():
            total.add_(table[self._users(rows)], alpha=self.part_weights[name])
        return total


def make_rows(n_users: int, n_items: int) -> csr_matrix:
    """One entry in each row, which says whose row it is."""
    users = np.arange(n_users)
    return csr_matrix((users + 1.0, (users, np.zeros(n_users, int))), (n_users, n_items))


def make_sum(rng: np.random.Generator, n_users: int, n_items: int, width: int, n_parts: int) -> Sum:
    """Values with many ties, of which most are 0."""
    levels = rng.integers(1, 6)
    tables = {
        f"part{n}": (rng.integers(-levels, levels, (n_users, n_items)).clip(0) / 4).astype("f4")
        for n in range(n_parts)
    }
    return Sum(tables, width)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_items=st.integers(1, 90),
    width=st.integers(1, 100),
    depth=st.integers(1, 12),
    n_parts=st.integers(1, 3),
    share=st.sampled_from([0.0, 0.2, 0.9, 1.0]),
)
def test_the_lists_are_those_of_the_whole_scores(seed, n_items, width, depth, n_parts, share):
    rng, n_users = np.random.default_rng(seed), 7
    scorer = make_sum(rng, n_users, n_items, width, n_parts)
    rows = make_rows(n_users, n_items)
    exclude = csr_matrix(rng.random((n_users, n_items)) < share)
    depth = min(depth, n_items)
    ranker, batches = PartRanker(scorer, rows, exclude, depth), (np.arange(4), np.arange(4, 7))
    for weights in rng.choice(SCALES, (4, n_parts)):
        scorer.part_weights = dict(zip(scorer.tables, map(float, weights), strict=True))
        for users in batches:
            items, scores = ranker(users)
            wanted = rank(scorer, rows[users], exclude[users], depth)
            assert np.array_equal(items, wanted[0])
            assert np.array_equal(scores, wanted[1])
    assert scorer.n_scored == n_users


def test_a_list_that_may_miss_an_item_is_ranked_anew():
    """Item 9 is among the best of no part, and the best of their sum."""
    high, low = np.linspace(1.0, 0.9, 3), np.zeros(3)
    tables = {
        "one": np.concatenate([high, low, low, [0.8]]).astype("f4")[None],
        "other": np.concatenate([low, high, low, [0.8]]).astype("f4")[None],
    }
    scorer, rows = Sum(tables, 100), make_rows(1, 10)
    ranker = PartRanker(scorer, rows, csr_matrix((1, 10)), 1)
    assert ranker(np.array([0]))[0].tolist() == [[9]]
    scorer.part_weights = {"one": 1.0, "other": 0.1}
    assert ranker(np.array([0]))[0].tolist() == [[0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_part_that_is_not_finite_is_refused(bad):
    tables = {"one": np.array([[1.0, bad, 2.0]], "f4"), "other": np.ones((1, 3), "f4")}
    ranker = PartRanker(Sum(tables, 2), make_rows(1, 3), csr_matrix((1, 3)), 2)
    with pytest.raises(NonFiniteScoresError):
        ranker(np.array([0]))


def test_memory_bounds_the_users():
    assert count_kept_users(20) > 35_000, "all users of Sports"
    assert count_kept_users(100) < count_kept_users(20) / 4
