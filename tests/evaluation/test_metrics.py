from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.evaluate import evaluate
from ld4mrec_cli.evaluation.metrics import ACCURACY, accuracy, hit_matrix
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError
from ld4mrec_cli.utils.distributed import Group
from ld4mrec_cli.utils.stats import gini

N_ITEMS = 12


def matrix_of(targets: list[set[int]], n_items: int = N_ITEMS) -> csr_matrix:
    dense = np.zeros((len(targets), n_items), dtype=np.float32)
    for row, wanted in enumerate(targets):
        dense[row, list(wanted)] = 1.0
    return csr_matrix(dense)


def by_hand(ranked: list[int], targets: set[int], k: int) -> dict[str, float]:
    """The definitions of the protocol, in loops over one user."""
    top = [item for item in ranked if item >= 0][:k]
    places = [place for place, item in enumerate(top, start=1) if item in targets]
    ideal = min(k, len(targets))
    dcg = sum(1.0 / math.log2(place + 1) for place in places)
    idcg = sum(1.0 / math.log2(place + 1) for place in range(1, ideal + 1))
    return {
        "recall": len(places) / len(targets),
        "ndcg": dcg / idcg,
        "precision": len(places) / k,
        "hit": 1.0 if places else 0.0,
        "mrr": 1.0 / places[0] if places else 0.0,
        "map": sum(found / place for found, place in enumerate(places, start=1)) / ideal,
    }


@st.composite
def ranked_users(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]]]:
    n_users, depth = draw(st.integers(1, 5)), draw(st.integers(1, N_ITEMS))
    lists, targets = [], []
    for _ in range(n_users):
        length = draw(st.integers(0, depth))
        ranked = draw(st.permutations(range(N_ITEMS)))[:length]
        lists.append(list(ranked) + [-1] * (depth - length))
        targets.append(draw(st.sets(st.integers(0, N_ITEMS - 1), min_size=1)))
    return lists, targets


@given(users=ranked_users(), cutoffs=st.sets(st.integers(1, 15), min_size=1))
def test_accuracy_equals_the_definitions_user_by_user(users, cutoffs):
    lists, targets = users
    found = accuracy(np.array(lists), matrix_of(targets), sorted(cutoffs))
    assert set(found) == {f"{name}@{k}" for name in ACCURACY for k in cutoffs}
    for k in cutoffs:
        expected = [
            by_hand(ranked, wanted, k) for ranked, wanted in zip(lists, targets, strict=True)
        ]
        for name in ACCURACY:
            assert_allclose(
                found[f"{name}@{k}"], [e[name] for e in expected], atol=1e-12, err_msg=f"{name}@{k}"
            )


@given(users=ranked_users(), k=st.integers(1, 15))
def test_accuracy_lies_between_zero_and_one_and_recall_grows_with_k(users, k):
    lists, targets = users
    found = accuracy(np.array(lists), matrix_of(targets), [k, k + 1])
    for name, values in found.items():
        assert values.min() >= 0.0, name
        assert values.max() <= 1.0 + 1e-12, name
    for name in ("recall", "hit", "mrr"):
        assert (found[f"{name}@{k + 1}"] >= found[f"{name}@{k}"]).all(), name


@given(targets=st.sets(st.integers(0, N_ITEMS - 1), min_size=1), k=st.integers(1, N_ITEMS))
def test_a_perfect_ranking_scores_one(targets, k):
    rest = [item for item in range(N_ITEMS) if item not in targets]
    found = accuracy(np.array([[*targets, *rest]]), matrix_of([targets]), [k])
    for name in ("ndcg", "hit", "mrr", "map"):
        assert_allclose(found[f"{name}@{k}"], 1.0)
    assert_allclose(found[f"recall@{k}"], min(k, len(targets)) / len(targets))


def test_known_answer_with_hits_at_places_two_and_three():
    found = accuracy(np.array([[7, 1, 2, 8, 9]]), matrix_of([{1, 2, 5}]), [1, 3])
    expected = {
        "recall@1": 0.0,
        "ndcg@1": 0.0,
        "mrr@1": 0.0,
        "recall@3": 2 / 3,
        "precision@3": 2 / 3,
        "hit@3": 1.0,
        "mrr@3": 0.5,
        "map@3": (1 / 2 + 2 / 3) / 3,
        "ndcg@3": (1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2),
    }
    for name, value in expected.items():
        assert_allclose(found[name], [value], err_msg=name)


def test_the_end_of_a_list_is_never_a_hit():
    # -1 of the second row must not be taken for the last item of the first.
    targets = matrix_of([{N_ITEMS - 1}, {0}])
    hits = hit_matrix(np.array([[-1, -1], [-1, 0]]), targets)
    assert hits.tolist() == [[0.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([3, 3, 3, 3], 0.0),
        ([0, 0, 0, 8], 0.75),
        ([0, 0, 0, 0], 0.0),
        ([1, 2, 3, 4], 0.25),
        ([4, 1, 3, 2], 0.25),
    ],
)
def test_gini_known_answers(counts, expected):
    assert gini(np.array(counts)) == pytest.approx(expected)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_gini_is_the_mean_absolute_difference(counts):
    values = np.array(counts, dtype=float)
    difference = np.abs(values[:, None] - values[None, :]).mean()
    assert gini(values) == pytest.approx(difference / (2 * values.mean()), abs=1e-12)


class FixedScores:
    """The same scores for everyone."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = torch.tensor(scores)

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> torch.Tensor:
        return self.scores.expand(rows.shape[0], -1).clone()


def test_evaluate_counts_only_users_with_targets_and_masks_what_it_is_told():
    rows = matrix_of([{0, 1}, {0}, {2}], n_items=4)
    targets = matrix_of([{2}, set(), {0}], n_items=4)
    found = evaluate(FixedScores([4.0, 3.0, 2.0, 1.0]), rows, targets, rows, [1], batch_size=2)
    assert found.users.tolist() == [0, 2]
    # User 0 sees item 2 first, since 0 and 1 are exclude; user 2 sees item 0 first.
    assert found.per_user["recall@1"].tolist() == [1.0, 1.0]
    unmasked = evaluate(
        FixedScores([4.0, 3.0, 2.0, 1.0]), rows, targets, matrix_of([set()] * 3, 4), [1], 2
    )
    assert unmasked.per_user["recall@1"].tolist() == [0.0, 1.0]
    assert unmasked.metrics["recall@1"] == 0.5


def test_coverage_popularity_and_gini_of_the_lists():
    rows = matrix_of([{0, 1}, {0}, {0}], n_items=4)
    targets = matrix_of([{3}, {3}, {3}], n_items=4)
    found = evaluate(
        FixedScores([4.0, 3.0, 2.0, 1.0]), rows, targets, rows, [1], batch_size=8
    ).metrics
    # Lists: [2], [1], [1]; items 1 and 2 have one and no training interaction.
    assert found["coverage@1"] == pytest.approx(0.5)
    assert found["popularity@1"] == pytest.approx(2 / 3)
    assert found["gini@1"] == pytest.approx(gini(np.array([0, 2, 1, 0])))


def test_batch_size_changes_the_batches_and_not_the_result():
    rng = np.random.default_rng(0)
    rows = csr_matrix((rng.random((9, 7)) < 0.3).astype(np.float32))
    targets = csr_matrix((rng.random((9, 7)) < 0.3).astype(np.float32))
    scorer = FixedScores(rng.random(7).tolist())
    sizes: list[int] = []
    small = evaluate(scorer, rows, targets, rows, [3, 20], 2, sizes.append)
    large = evaluate(scorer, rows, targets, rows, [3, 20], 100)
    assert small.metrics == large.metrics
    assert max(sizes) == 2
    assert sum(sizes) == len(small.users)


def test_a_cutoff_beyond_all_memory_gives_the_metrics_of_the_whole_catalog():
    rng = np.random.default_rng(1)
    rows = csr_matrix((rng.random((9, 7)) < 0.3).astype(np.float32))
    targets = csr_matrix((rng.random((9, 7)) < 0.3).astype(np.float32))
    huge = 10**15
    found = evaluate(
        FixedScores(rng.random(7).tolist()), rows, targets, rows, [3, 7, huge], 4
    ).metrics
    for name in ("recall", "ndcg", "hit", "mrr", "map", "coverage", "gini", "popularity"):
        assert found[f"{name}@{huge}"] == pytest.approx(found[f"{name}@7"]), name
    assert found[f"precision@{huge}"] == pytest.approx(found["precision@7"] * 7 / huge)


def test_a_cutoff_beyond_the_lists_divides_precision_by_k_and_is_ideal_over_the_targets():
    found = accuracy(np.array([[7, 1]]), matrix_of([{1, 2, 5}]), [10**15])
    assert_allclose(found[f"precision@{10**15}"], [1e-15])
    assert_allclose(found[f"map@{10**15}"], [(1 / 2) / 3])
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert_allclose(found[f"ndcg@{10**15}"], [1 / math.log2(3) / ideal])


def test_popularity_counts_what_the_recommender_sees_and_not_what_is_masked():
    rows = matrix_of([{0, 1}, {0, 1}, {0}], n_items=4)
    exclude = matrix_of([{0, 1, 2}, {0, 1, 2}, {0, 1, 2}], n_items=4)
    targets = matrix_of([{3}, {3}, {3}], n_items=4)
    found = evaluate(
        FixedScores([4.0, 3.0, 2.0, 1.0]), rows, targets, exclude, [1, 2], batch_size=2
    ).metrics
    assert found["popularity@1"] == 0.0  # item 3, exclude for nobody and seen by nobody
    exclude = matrix_of([{0}, {0}, {0, 2}], n_items=4)
    found = evaluate(
        FixedScores([4.0, 3.0, 2.0, 1.0]), rows, targets, exclude, [1], batch_size=2
    ).metrics
    assert found["popularity@1"] == 2.0  # item 1, seen by two, exclude for nobody


def test_no_user_with_a_target_is_refused():
    empty = matrix_of([set(), set()])
    with pytest.raises(ValueError, match="no user has a target"):
        evaluate(FixedScores([0.0] * N_ITEMS), empty, empty, empty, [5], 2)


def test_scores_that_are_not_finite_in_another_process_are_refused_in_all():
    class Informed(Group):
        def any(self, flag: bool) -> bool:
            return True

    targets = csr_matrix(np.eye(3, dtype=np.float32))

    class Zeros:
        def score(self, rows, users=None):
            return torch.zeros(rows.shape)

    with pytest.raises(NonFiniteScoresError):
        evaluate(Zeros(), targets, targets, targets, [2], 10, group=Informed())
