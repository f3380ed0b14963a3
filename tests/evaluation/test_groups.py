from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.evaluate import evaluate, evaluate_lists
from ld4mrec_cli.evaluation.given_lists import GivenLists
from ld4mrec_cli.evaluation.groups import (
    NOBODY,
    TierAccuracy,
    group_by_activity,
    group_by_history,
    group_by_values,
    group_items,
    popularity_tiers,
)
from ld4mrec_cli.evaluation.results import Evaluation, Group, Grouping


def evaluation(n_history, recall) -> Evaluation:
    values = np.array(recall, dtype=float)
    return Evaluation(
        users=np.arange(len(values)),
        per_user={"recall@5": values},
        metrics={"recall@5": float(values.mean())},
        n_history=np.array(n_history),
        n_targets=np.ones(len(values), dtype=int),
        item_counts={5: np.ones(3, dtype=int)},
    )


def test_users_are_grouped_by_the_length_of_their_history():
    found = group_by_history(evaluation([0, 4, 5, 19, 500], [0.0, 0.5, 1.0, 0.2, 0.4]))
    assert [(one.name, one.n_users, one.metrics) for one in found.groups] == [
        ("0-4", 2, {"recall@5": 0.25}),
        ("5-9", 1, {"recall@5": 1.0}),
        ("10-19", 1, {"recall@5": 0.2}),
        ("100+", 1, {"recall@5": 0.4}),
    ]
    gap = found.gaps["recall@5"]
    assert (gap.difference, gap.ratio) == pytest.approx((0.8, 0.2))


def test_quartiles_of_activity_keep_equal_histories_together():
    found = group_by_activity(evaluation([1, 2, 3, 4, 5, 6, 7, 8], np.arange(8) / 8))
    assert [(one.name, one.n_users) for one in found.groups] == [
        ("Q1 (1-2)", 2),
        ("Q2 (3-4)", 2),
        ("Q3 (5-6)", 2),
        ("Q4 (7-8)", 2),
    ]
    same = group_by_activity(evaluation([7, 7, 7], [0.1, 0.2, 0.3]))
    assert [(one.name, one.n_users) for one in same.groups] == [("Q1 (7-7)", 3)]
    assert same.gaps == {}


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40))
def test_every_user_is_in_one_group(lengths):
    found = evaluation(lengths, np.linspace(0, 1, len(lengths)))
    for grouping in (group_by_history(found), group_by_activity(found)):
        assert sum(one.n_users for one in grouping.groups) == len(lengths)
        total = sum(one.n_users * one.metrics["recall@5"] for one in grouping.groups)
        assert total == pytest.approx(found.per_user["recall@5"].sum())


def test_users_without_a_value_are_a_group_of_their_own():
    found = group_by_values(evaluation([1, 1, 1], [0.0, 0.5, 1.0]), "country", ["se", None, "fi"])
    assert [one.name for one in found.groups] == ["fi", "se", NOBODY]
    assert found.by == "country"


def test_a_metric_that_is_zero_everywhere_has_no_ratio():
    zero = Grouping("x", [Group("a", 1, {"hit@1": 0.0}), Group("b", 1, {"hit@1": 0.0})])
    assert zero.gaps["hit@1"].ratio is None
    assert zero.gaps["hit@1"].difference == 0.0


def test_each_tier_has_about_a_third_of_the_interactions():
    train = np.zeros((6, 8))
    for item, count in enumerate((6, 2, 2, 2, 2, 2, 2, 0)):
        train[:count, item] = 1
    assert popularity_tiers(csr_matrix(train)).tolist() == [0, 1, 1, 1, 2, 2, 2, 2]


class FixedScores:
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> torch.Tensor:
        return torch.arange(rows.shape[1], 0, -1).float().expand(rows.shape[0], -1).clone()


def test_the_accuracy_of_a_tier_is_that_of_its_targets():
    train = csr_matrix((3, 4), dtype=np.float32)
    targets = csr_matrix(np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=np.float32))
    tiers = np.array([0, 1, 1, 2])
    found = evaluate(FixedScores(), train, targets, train, [2], 2, measures=[TierAccuracy(tiers)])
    rest, grouping = group_items(found, tiers)
    assert rest.metrics["recall@2"] == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert not [name for name in (*rest.metrics, *rest.per_user) if "/" in name]
    head, mid, tail = grouping.groups
    assert (head.name, head.n_users, head.metrics["recall@2"]) == ("head (1 items)", 1, 1.0)
    assert (mid.n_users, mid.metrics["recall@2"]) == (1, 1.0)
    assert (tail.n_users, tail.metrics["recall@2"]) == (2, 0.0)
    assert [one.metrics["share@2"] for one in grouping.groups] == [0.5, 0.5, 0.0]
    assert "share@2" not in grouping.gaps


def test_given_lists_lose_excluded_items_and_users_without_one_find_nothing():
    lists = GivenLists.of(np.array([2, 0, 0, 0]), np.array([3, 1, 0, 2]), n_users=3)
    exclude = csr_matrix(np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=np.float32))
    kept = lists.without(exclude)
    assert kept.take(np.array([0, 1, 2]), 2).tolist() == [[1, 2], [-1, -1], [3, -1]]
    targets = csr_matrix(np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float32))
    found = evaluate_lists(kept, exclude, targets, [1, 3], 2)
    assert found.per_user["recall@1"].tolist() == [0.0, 0.0, 1.0]
    assert found.per_user["recall@3"].tolist() == [1.0, 0.0, 1.0]
    assert found.metrics["coverage@3"] == pytest.approx(3 / 4)
    empty = GivenLists.of(np.empty(0, np.int64), np.empty(0, np.int64), 3)
    assert evaluate_lists(empty, exclude, targets, [2], 5).metrics["recall@2"] == 0.0
