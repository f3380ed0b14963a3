"""New items: the known items that stand for them, and their scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ease import EASE
from ld4mrec_cli.models.new_items import ExtendedRecommender, weigh_scores
from ld4mrec_cli.models.ops.content_neighbors import (
    CONTENT_SHARE,
    NEIGHBORS,
    ItemFeatures,
    find_content_neighbors,
)


def features_of(values, present=None) -> ItemFeatures:
    values = np.asarray(values, dtype=np.float32)
    is_present = np.ones(len(values), dtype=bool) if present is None else np.asarray(present)
    return ItemFeatures(values, is_present)


@pytest.fixture
def content(world):
    """The image of all items of the world; the last two have no interaction."""
    return {"image": features_of(world.features["image"])}


@pytest.fixture
def neighbors(world, content):
    cold = [world.cold_like, world.cold_unlike]
    new = {"image": features_of(world.features["image"][cold])}
    return find_content_neighbors(content, new, world.train.getnnz(axis=0) > 0)


def test_items_of_the_kind_stand_for_a_new_item(world, neighbors):
    assert neighbors.shape == (2, len(world.kind))
    np.testing.assert_allclose(neighbors.sum(axis=1), 1.0, atol=1e-6)
    for row, kind in enumerate((0, 1)):
        weights = neighbors[row].toarray().ravel()
        assert weights[world.kind == kind].sum() > 0.8
        assert weights[[world.cold_like, world.cold_unlike]].sum() == 0.0, "not interacted with"
        assert (weights > 0).sum() <= NEIGHBORS


def test_the_copy_of_an_item_has_it_as_the_nearest(world, content):
    copies = {"image": features_of(world.features["image"][:30])}
    found = find_content_neighbors(content, copies, np.ones(len(world.kind), dtype=bool))
    assert np.asarray(found.argmax(axis=1)).ravel().tolist() == list(range(30))


def test_each_new_item_is_compared_by_itself(world, content):
    candidates = np.ones(len(world.kind), dtype=bool)
    rows = world.features["image"][:9] + 0.1
    together = find_content_neighbors(content, {"image": features_of(rows)}, candidates)
    for row in range(9):
        alone = {"image": features_of(rows[row : row + 1])}
        found = find_content_neighbors(content, alone, candidates)
        np.testing.assert_allclose(found.toarray(), together[row].toarray(), atol=1e-5)


def test_a_modality_that_an_item_lacks_does_not_count(world):
    image, text = (world.features[name] for name in ("image", "text"))
    known = {"image": features_of(image), "text": features_of(text)}
    absent = features_of(np.full((2, text.shape[1]), 9.0), [False, False])
    new = {"image": features_of(image[:2], [True, False]), "text": absent}
    candidates = np.ones(len(image), dtype=bool)
    found = find_content_neighbors(known, new, candidates)
    assert found[0].argmax() == 0
    assert found[1].nnz == 0, "it has no content at all"


def extended(world, neighbors, weight=1.0, model=None):
    rng = np.random.default_rng(0)
    n = len(world.kind)
    weights = rng.normal(size=(n, n)).astype(np.float32)
    return ExtendedRecommender(model or EASE(weights), neighbors, weight)


def with_new(rows: csr_matrix, new) -> csr_matrix:
    """Rows with entries of the two new items after those of the known ones."""
    more = np.broadcast_to(np.asarray(new, dtype=np.float32), (rows.shape[0], 2))
    return csr_matrix(np.concatenate([rows.toarray(), more], axis=1))


def test_scores_are_means_and_the_content_of_the_history(world, neighbors):
    model = extended(world, neighbors)
    rows = world.train[:5]
    scores = model.score(with_new(rows, [0, 0]))
    base = model.base.score(rows)
    assert torch.equal(scores[:, :-2], base)
    expected = (base.numpy() + CONTENT_SHARE * rows.toarray()) @ neighbors.toarray().T
    np.testing.assert_allclose(scores[:, -2:], expected, rtol=1e-4, atol=1e-5)


def test_the_nearest_known_item_stands_for_a_new_one_in_a_history(world, neighbors):
    model = extended(world, neighbors)
    nearest = int(neighbors[1].argmax())
    rows = world.train[:4].toarray()
    replaced = rows.copy()
    replaced[:, nearest] = 1.0
    given = model.score(with_new(csr_matrix(rows), [0, 1]))
    assert torch.equal(given, model.score(with_new(csr_matrix(replaced), [0, 0])))


@given(score=st.floats(-9, 9), weight=st.floats(0.1, 10), more=st.floats(1.0, 4.0))
def test_more_weight_never_lowers_a_score(score, weight, more):
    scores = torch.tensor([score], dtype=torch.float64)
    assert weigh_scores(scores, weight * more) >= weigh_scores(scores, weight)
    assert torch.equal(weigh_scores(scores, 1.0), scores)


def test_shares_of_new_items_add_up_to_the_score(world, neighbors):
    model = extended(world, neighbors, weight=2.0)
    row = with_new(world.train[:1], [1, 0])
    items = np.array([3, model.n_known, model.n_known + 1])
    shares = model.history_shares(row, items)
    assert shares.shape == (row.nnz, 3)
    np.testing.assert_allclose(shares.sum(axis=0), model.score(row)[0, items], atol=1e-4)
    known = world.train[:1]
    at_base = model.base.history_shares(known, items[:1])
    np.testing.assert_array_equal(model.history_shares(with_new(known, [0, 0]), items[:1]), at_base)


@pytest.mark.parametrize("settings", [{}, {"model__ease": False}, {"training__loss": "mse"}])
def test_the_popularity_of_known_items_does_not_move_a_new_one(world, neighbors, settings):
    """The output bias of C-Net is the popularity; its mean is what a new item has."""
    base = world.model(world.config(**settings)).eval()
    rows = with_new(world.train[:6], [0, 0])
    with torch.no_grad():
        base.cnet.decoder_bias.zero_()
        before = extended(world, neighbors, model=base).score(rows)[:, -2:].clone()
        shift = torch.linspace(-2.0, 2.0, base.n_items)
        is_used = base.cnet.signals.inverse_sqrt_degree > 0
        base.cnet.decoder_bias.copy_(shift - shift[is_used].mean())
        after = extended(world, neighbors, model=base).score(rows)[:, -2:]
    ratio = after[:, 0] / after[:, 1], before[:, 0] / before[:, 1]
    if settings:  # logits
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)
    else:  # the softmax has another sum; the order of the new items stays
        assert torch.equal(ratio[0] > 1.0, ratio[1] > 1.0)


@pytest.mark.slow
def test_a_trained_model_tells_whom_a_new_item_suits(world, neighbors):
    model, _ = world.trained(world.config(training__max_epochs=30))
    scores = extended(world, neighbors, model=model.eval()).score(with_new(world.train, [0, 0]))
    likes = np.arange(world.train.shape[0]) % 3 == 0
    for_likers = scores[:, -2][torch.from_numpy(likes)].median()
    for_others = scores[:, -2][torch.from_numpy(~likes)].median()
    assert for_likers > 1.5 * for_others
