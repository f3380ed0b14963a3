"""Ranking of allowed items and of given pairs: what filtering all scores by hand gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation import ranking
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError, rank, score_pairs
from ld4mrec_cli.models.ops.factored_scores import FactoredScores


class Dense:
    """Fixed scores for the rows of a batch, which are all rows."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = torch.from_numpy(scores).float()

    def score(self, rows, users=None):
        return self.scores.clone()


class Factored(Dense):
    """The same as inner products; it counts the items that are scored."""

    n_scored = 0

    def factored_scores(self, rows, users=None):
        n_items = self.scores.shape[1]
        outer = self

        class Counted(FactoredScores):
            def scores(self):
                outer.n_scored += self.n_items
                return super().scores()

        return Counted((self.scores,), (torch.eye(n_items),), torch.zeros(n_items))


class OfItems(Dense):
    """Scores some items for less; all scores at once are never asked for."""

    def score(self, rows, users=None):
        raise AssertionError("all scores were asked for")

    def score_items(self, rows, items, users=None):
        return self.scores[:, torch.from_numpy(items)]


problems = st.tuples(st.integers(1, 4), st.integers(1, 30), st.integers(0, 10_000))


def make(problem):
    n, n_items, seed = problem
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, size=(n, n_items)).astype(np.float32)  # many ties
    exclude = csr_matrix((rng.random((n, n_items)) < 0.3).astype(np.float32))
    allowed = np.flatnonzero(rng.random(n_items) < rng.random()).astype(np.int64)
    return scores, exclude, allowed


@given(problem=problems, k=st.integers(1, 40), width=st.integers(1, 9))
@pytest.mark.parametrize("kind", [Dense, Factored])
def test_the_allowed_items_are_ranked_as_among_all(kind, problem, k, width):
    scores, exclude, allowed = make(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "ITEMS_CHUNK_SIZE", width)
        items, values = rank(kind(scores), exclude, exclude, k, allowed=allowed)
    assert items.shape == values.shape == (len(scores), min(k, len(allowed)))
    for row, mask, found, found_values in zip(
        scores, exclude.toarray(), items, values, strict=True
    ):
        order = sorted((i for i in allowed if not mask[i]), key=lambda i: (-row[i], i))[:k]
        assert found[: len(order)].tolist() == order
        assert (found[len(order) :] == -1).all()
        np.testing.assert_array_equal(found_values[: len(order)], row[order])


def test_few_allowed_items_are_scored_alone():
    scores = np.random.default_rng(0).normal(size=(3, 20_000)).astype(np.float32)
    rows = csr_matrix((3, 20_000), dtype=np.float32)
    allowed = np.arange(0, 20_000, 100, dtype=np.int64)
    items, _ = rank(OfItems(scores), rows, None, 5, allowed=allowed)
    expected = allowed[np.argsort(-scores[:, allowed], axis=1)[:, :5]]
    np.testing.assert_array_equal(items, expected)


@pytest.mark.parametrize(("n_allowed", "n_scored"), [(2, 2), (4, 4), (5, 40), (39, 40), (40, 40)])
def test_no_more_than_all_items_are_scored(n_allowed, n_scored):
    scorer = Factored(np.random.default_rng(0).normal(size=(2, 40)))
    rank(scorer, csr_matrix((2, 40)), None, 3, allowed=np.arange(n_allowed, dtype=np.int64))
    assert scorer.n_scored == n_scored


def test_no_allowed_item_is_an_empty_list():
    items, values = rank(
        Dense(np.ones((2, 4))), csr_matrix((2, 4)), None, 3, allowed=np.array([], int)
    )
    assert items.shape == values.shape == (2, 0)


@pytest.mark.parametrize("n_allowed", [1, 8])
def test_scores_that_are_not_finite_are_refused_among_the_allowed(n_allowed):
    scores = np.full((1, 8), np.nan)
    allowed = np.arange(n_allowed, dtype=np.int64)
    with pytest.raises(NonFiniteScoresError):
        rank(Dense(scores), csr_matrix((1, 8)), None, 1, allowed=allowed)
    with pytest.raises(NonFiniteScoresError):
        score_pairs(Dense(scores), csr_matrix((1, 8)), csr_matrix(np.eye(1, 8)))


@given(problem=problems, width=st.integers(1, 9))
@pytest.mark.parametrize("kind", [Dense, Factored])
def test_pairs_have_the_scores_of_all_scores(kind, problem, width):
    scores, pairs, _ = make(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "ITEMS_CHUNK_SIZE", width)
        found = score_pairs(kind(scores), pairs, pairs)
    np.testing.assert_array_equal(found, scores[pairs.nonzero()])
