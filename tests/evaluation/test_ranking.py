from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation import ranking, topk
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError, batches, rank
from ld4mrec_cli.evaluation.topk import top_k
from ld4mrec_cli.models.ops.factored_scores import FactoredScores


class Given:
    """Returns the scores it was given, whatever the rows."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = torch.from_numpy(np.asarray(scores, dtype=np.float32))

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> torch.Tensor:
        return self.scores


shapes = st.tuples(st.integers(1, 6), st.integers(1, 40))
tied_scores = shapes.flatmap(
    lambda shape: hnp.arrays(
        np.float32, shape, elements=st.sampled_from([-2.0, -0.0, 0.0, 1.0, 3.0])
    )
)


def sorted_indices(row: np.ndarray) -> list[int]:
    """The whole order by a plain sort: higher score first, then lower index."""
    return sorted(range(len(row)), key=lambda item: (-row[item], item))


@given(scores=tied_scores, share=st.floats(0.0, 1.0))
def test_top_k_equals_a_full_stable_sort(scores, share):
    k = max(1, round(share * scores.shape[1]))
    items, values = top_k(torch.from_numpy(scores), k)
    for row, found, found_values in zip(scores, items.tolist(), values.numpy(), strict=True):
        expected = sorted_indices(row)[:k]
        assert found == expected
        np.testing.assert_array_equal(found_values, row[expected])


def test_top_k_on_a_wide_row_of_equal_scores_takes_the_first_items():
    items, _ = top_k(torch.zeros(3, 5000), 50)
    assert items.tolist() == [list(range(50))] * 3


@given(scores=tied_scores, seed=st.integers(0, 1000), k=st.integers(1, 50))
def test_masked_items_never_appear_and_lists_are_padded_to_the_catalog_at_most(scores, seed, k):
    exclude = np.random.default_rng(seed).random(scores.shape) < 0.5
    rows = csr_matrix(exclude.astype(np.float32))
    items, values = rank(Given(scores), rows, rows, k)
    depth = min(k, scores.shape[1])
    assert items.shape == values.shape == (len(scores), depth)
    for row, mask, found, found_values in zip(scores, exclude, items, values, strict=True):
        expected = [item for item in sorted_indices(row) if not mask[item]][:k]
        assert found.tolist() == expected + [-1] * (depth - len(expected))
        assert np.isneginf(found_values[len(expected) :]).all()
        np.testing.assert_array_equal(found_values[: len(expected)], row[expected])


def test_without_a_mask_all_items_are_ranked():
    items, _ = rank(Given(np.array([[0.1, 0.9, 0.5]])), csr_matrix((1, 3)), None, 5)
    assert items.tolist() == [[1, 2, 0]]


def test_a_k_beyond_all_memory_costs_no_more_than_the_catalog():
    items, values = rank(Given(np.array([[0.1, 0.9, 0.5]] * 2)), csr_matrix((2, 3)), None, 10**15)
    assert items.tolist() == [[1, 2, 0]] * 2
    assert values.shape == (2, 3)


def test_ranking_leaves_the_scores_of_the_recommender_alone():
    scorer = Given(np.array([[0.1, 0.9, 0.5]]))
    rows = csr_matrix(np.array([[0, 1, 0]], dtype=np.float32))
    rank(scorer, rows, rows, 2)
    assert torch.isfinite(scorer.scores).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    scores = np.array([[0.1, bad, 0.5]])
    with pytest.raises(NonFiniteScoresError, match="not finite"):
        rank(Given(scores), csr_matrix((1, 3)), None, 2)


@given(n=st.integers(0, 30), size=st.integers(1, 10))
def test_batches_cover_all_users_in_order(n, size):
    parts = list(batches(np.arange(n), size))
    assert [user for part in parts for user in part] == list(range(n))
    assert all(1 <= len(part) <= size for part in parts)


class InBlocks(Given):
    """The same scores as inner products with unit vectors, a block of items at a time."""

    def factored_scores(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        n_items = self.scores.shape[1]
        return FactoredScores((self.scores,), (torch.eye(n_items),), torch.zeros(n_items))

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> torch.Tensor:
        raise AssertionError("all scores were asked for")


@settings(deadline=None)
@given(scores=tied_scores, seed=st.integers(0, 1000), k=st.integers(1, 50), width=st.integers(1, 9))
def test_scores_in_blocks_give_the_lists_of_scores_all_at_once(scores, seed, k, width):
    exclude = csr_matrix(
        (np.random.default_rng(seed).random(scores.shape) < 0.4).astype(np.float32)
    )
    expected_items, expected_values = rank(Given(scores), exclude, exclude, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "ITEMS_CHUNK_SIZE", width)
        patch.setattr(topk, "GROUP_SIZE", 1 + seed % 4)
        items, values = rank(InBlocks(scores), exclude, exclude, k)
    np.testing.assert_array_equal(items, expected_items)
    np.testing.assert_array_equal(values, expected_values)


def test_blocks_agree_on_real_numbers_of_a_large_catalog():
    scores = np.random.default_rng(0).normal(size=(7, 3 * ranking.ITEMS_CHUNK_SIZE + 11))
    items, values = rank(Given(scores), csr_matrix(scores.shape), None, 20)
    np.testing.assert_array_equal(items, np.argsort(-scores, axis=1)[:, :20])
    assert (np.diff(values, axis=1) <= 0).all()


def test_a_score_that_is_not_finite_is_found_in_any_block(monkeypatch):
    monkeypatch.setattr(ranking, "ITEMS_CHUNK_SIZE", 2)
    with pytest.raises(NonFiniteScoresError, match="not finite"):
        rank(Given(np.array([[0.1, 0.5, 0.3, 0.2, np.nan]])), csr_matrix((1, 5)), None, 2)
