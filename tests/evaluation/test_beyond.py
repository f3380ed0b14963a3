"""Measures beyond accuracy: known answers, the definitions in loops, and RecTools where it is."""

from __future__ import annotations

import importlib.util
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation import beyond
from ld4mrec_cli.evaluation.beyond import (
    ContentDiversity,
    CooccurrenceDiversity,
    Miscalibration,
    Novelty,
    Serendipity,
)
from ld4mrec_cli.evaluation.evaluate import Batch

N_USERS, N_ITEMS, N_CATEGORIES = 6, 9, 3


def batch_of(lists, targets=None, users=None) -> Batch:
    lists = np.array(lists)
    if targets is None:
        targets = np.zeros((len(lists), N_ITEMS))
    users = np.arange(len(lists)) if users is None else users
    return Batch(users, lists, csr_matrix(np.asarray(targets, dtype=np.float32)))


def cosine_distance(a, b) -> float:
    return 1.0 - float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


class ByHand:
    """The definitions of docs/metrics.md for one user, in loops; NaN where there is no value."""

    def __init__(self, train, features, present, categories):
        self.train, self.features, self.present = train, features, present
        self.categories = categories
        self.counts = train.sum(axis=0)

    def novelty(self, entries, **_):
        n_users = max((self.train.sum(axis=1) > 0).sum(), 1)
        values = [-math.log2(max(self.counts[item], 1) / n_users) for item in entries]
        return np.mean(values) if values else math.nan

    def serendipity(self, entries, targets, k, **_):
        levels = sorted({count for count in self.counts if count > 0}, reverse=True)
        total = 0.0
        for rank, item in enumerate(entries, start=1):
            expected = 0.0
            if self.counts[item]:
                expected = (N_ITEMS - levels.index(self.counts[item])) / N_ITEMS
            total += max((N_ITEMS + 1 - rank) / N_ITEMS - expected, 0.0) * (item in targets)
        return total / k

    def content(self, entries, **_):
        own = [i for i in entries if self.present[i] and self.features[i].any()]
        pairs = [cosine_distance(*self.features[[a, b]]) for a, b in combinations(own, 2)]
        return np.mean(pairs) if pairs else math.nan

    def cooccurrence(self, entries, **_):
        pairs = []
        for a, b in combinations(entries, 2):
            is_known = self.counts[a] and self.counts[b]
            pairs.append(cosine_distance(*self.train.T[[a, b]]) if is_known else 1.0)
        return np.mean(pairs) if pairs else math.nan

    def miscalibration(self, entries, history, **_):
        p = sum((self.categories[item] for item in history), np.zeros(N_CATEGORIES))
        q = sum((self.categories[item] for item in entries), np.zeros(N_CATEGORIES))
        if not p.sum() or not q.sum():
            return math.nan
        p, q = p / p.sum(), q / q.sum()
        q = 0.99 * q + 0.01 * p
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@st.composite
def worlds(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    train = (rng.random((N_USERS, N_ITEMS)) < draw(st.floats(0.0, 0.9))).astype(np.float64)
    features = np.round(rng.normal(size=(N_ITEMS, 4)), 2).astype(np.float32)
    features[draw(st.integers(0, N_ITEMS - 1))] = 0.0
    present = rng.random(N_ITEMS) < 0.8
    categories = (rng.random((N_ITEMS, N_CATEGORIES)) < 0.4).astype(np.float64)
    categories /= np.maximum(categories.sum(axis=1, keepdims=True), 1.0)
    targets = rng.random((N_USERS, N_ITEMS)) < 0.4
    targets[:, 0] = True  # everyone looks for something
    depth = draw(st.integers(1, N_ITEMS))
    lists = np.full((N_USERS, depth), -1)
    for row in lists:
        length = rng.integers(0, depth + 1)
        row[:length] = rng.permutation(N_ITEMS)[:length]
    return train, features, present, categories, targets, lists


@given(world=worlds(), k=st.integers(1, N_ITEMS + 2), chunk=st.sampled_from([1, 40, 2**22]))
def test_the_measures_are_their_definitions(world, k, chunk):
    train, features, present, categories, targets, lists = world
    matrix = csr_matrix(train * 2.5)  # weights count for nothing
    measures = {
        "novelty": Novelty(matrix),
        "serendipity": Serendipity(matrix),
        "content": ContentDiversity("image", features, present),
        "cooccurrence": CooccurrenceDiversity(matrix),
        "miscalibration": Miscalibration(matrix, csr_matrix(categories)),
    }
    hand = ByHand(train, features.astype(np.float64), present, categories)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beyond, "MAX_CHUNK", chunk)
        for name, measure in measures.items():
            found = measure.values(batch_of(lists, targets), k)[:, 0]
            expected = [
                getattr(hand, name)(
                    entries=[item for item in lists[user, :k] if item >= 0],
                    targets=set(np.flatnonzero(targets[user])),
                    history=np.flatnonzero(train[user]),
                    k=k,
                )
                for user in range(N_USERS)
            ]
            assert_allclose(found, expected, atol=1e-9, err_msg=name)


def test_known_answers():
    # Items 0, 1, 2 are had by 4, 2 and 1 of the four users; nobody has item 3.
    train = csr_matrix([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    lists = np.array([[2, 1, 3], [0, 1, -1]])
    targets = csr_matrix(np.array([[0, 0, 1, 1], [1, 0, 0, 0]], dtype=np.float32))
    batch = Batch(np.array([0, 1]), lists, targets)
    assert Novelty(train).values(batch, 3)[:, 0] == pytest.approx([(2 + 1 + 2) / 3, 0.5])
    # Item 2 at place 1: 4/4 - 2/4, as it is third by popularity; item 3 at place 3: 2/4 - 0.
    assert Serendipity(train).values(batch, 3)[:, 0] == pytest.approx([(0.5 + 0.5) / 3, 0.0])
    cosine = 1 / math.sqrt(2)  # of items 1 and 2; nobody has item 3; of items 0 and 1 as well
    found = CooccurrenceDiversity(train).values(batch, 3)[:, 0]
    assert found == pytest.approx([(1 - cosine + 1 + 1) / 3, 1 - 2 / math.sqrt(8)])
    features = np.array([[1, 0], [0, 2], [3, 0], [0, -1]], dtype=np.float32)
    diversity = ContentDiversity("text", features, np.ones(4, dtype=bool))
    assert diversity.names == ("diversity_text",)
    assert diversity.values(batch, 3)[:, 0] == pytest.approx([(1 + 1 + 2) / 3, 1.0])
    assert np.isnan(diversity.values(batch, 1)).all()  # one item has no pair


def test_a_list_like_the_history_is_calibrated_and_another_kind_of_list_is_not():
    categories = csr_matrix([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.5, 0.5]])
    train = csr_matrix([[1, 0, 1, 0, 0]])  # half of each category
    measure = Miscalibration(train, categories)

    def value(*entries):
        return measure.values(Batch(np.array([0]), np.array([entries]), csr_matrix((1, 5))), 9)[0]

    assert value(1, 3) == pytest.approx(0.0, abs=1e-12)
    assert value(4) == pytest.approx(0.0, abs=1e-12)
    one_kind = 0.5 * math.log(0.5 / (0.99 + 0.005)) + 0.5 * math.log(0.5 / 0.005)
    assert value(1, 0) == pytest.approx(one_kind)


@pytest.mark.skipif(importlib.util.find_spec("rectools") is None, reason="RecTools is not there")
def test_novelty_serendipity_and_diversity_are_those_of_rectools():
    import pandas as pd
    from rectools import metrics
    from rectools.metrics.distances import PairwiseDistanceCalculator

    rng = np.random.default_rng(5)
    n_users, n_items, depth = 60, 40, 12
    train = rng.random((n_users, n_items)) < 0.2
    train[:, -3:] = False  # cold items
    targets = (rng.random((n_users, n_items)) < 0.1) & ~train
    targets[np.arange(n_users), np.argmin(train, axis=1)] = True
    features = rng.normal(size=(n_items, 5))
    lists = np.array([rng.permutation(n_items)[:depth] for _ in range(n_users)])

    class Cosine(PairwiseDistanceCalculator):
        def __init__(self, vectors):
            unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            self.distances = 1.0 - unit @ unit.T

        def _get_distances_for_item_pairs(self, items_0, items_1):
            return self.distances[items_0, items_1]

    def table(pairs):
        users, items = np.nonzero(pairs)
        return pd.DataFrame({"user_id": users, "item_id": items})

    reco = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(n_users), depth),
            "item_id": lists.ravel(),
            "rank": np.tile(np.arange(1, depth + 1), n_users),
        }
    )
    matrix, batch = csr_matrix(train), Batch(np.arange(n_users), lists, csr_matrix(targets))
    for k in (2, 5, 12):
        theirs = {
            "novelty": metrics.MeanInvUserFreq(k).calc_per_user(reco, table(train)),
            "serendipity": metrics.Serendipity(k).calc_per_user(
                reco, table(targets), table(train), np.arange(n_items)
            ),
            "content": metrics.IntraListDiversity(k, Cosine(features)).calc_per_user(reco),
            "cooccurrence": metrics.IntraListDiversity(
                k, Cosine(train.T.astype(float))
            ).calc_per_user(reco),
        }
        ours = {
            "novelty": Novelty(matrix),
            "serendipity": Serendipity(matrix),
            "content": ContentDiversity("x", features, np.ones(n_items, dtype=bool)),
            "cooccurrence": CooccurrenceDiversity(matrix),
        }
        for name, measure in ours.items():
            values = measure.values(batch, k)[:, 0]
            assert_allclose(values, theirs[name].sort_index(), atol=1e-12, err_msg=name)
