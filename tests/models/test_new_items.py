"""New items: the known items that stand for them, and their scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ease import EASE
from ld4mrec_cli.models.ld4mrec.content_head import ContentHead, fit_content_head
from ld4mrec_cli.models.new_items import ExtendedRecommender, weigh_scores
from ld4mrec_cli.models.ops.content_neighbors import (
    CONTENT_SHARE,
    NEIGHBORS,
    ItemFeatures,
    embed_content,
    find_content_neighbors,
)
from ld4mrec_cli.models.ops.item_bases import orient_axes, principal_axes
from ld4mrec_cli.models.ops.sparse_rows import SparseRows


def features_of(values, present=None) -> ItemFeatures:
    values = np.asarray(values, dtype=np.float32)
    is_present = np.ones(len(values), dtype=bool) if present is None else np.asarray(present)
    return ItemFeatures(values, is_present)


def compare(known, new, is_candidate) -> csr_matrix:
    return find_content_neighbors(*embed_content(known, new), is_candidate)


@pytest.fixture
def content(world):
    """The image of all items of the world; the last two have no interaction."""
    return {"image": features_of(world.features["image"])}


@pytest.fixture
def neighbors(world, content):
    cold = [world.cold_like, world.cold_unlike]
    new = {"image": features_of(world.features["image"][cold])}
    return compare(content, new, world.train.getnnz(axis=0) > 0)


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
    found = compare(content, copies, np.ones(len(world.kind), dtype=bool))
    assert np.asarray(found.argmax(axis=1)).ravel().tolist() == list(range(30))


def test_each_new_item_is_compared_by_itself(world, content):
    candidates = np.ones(len(world.kind), dtype=bool)
    rows = world.features["image"][:9] + 0.1
    together = compare(content, {"image": features_of(rows)}, candidates)
    for row in range(9):
        alone = {"image": features_of(rows[row : row + 1])}
        found = compare(content, alone, candidates)
        np.testing.assert_allclose(found.toarray(), together[row].toarray(), atol=1e-5)


def test_a_modality_that_an_item_lacks_does_not_count(world):
    image, text = (world.features[name] for name in ("image", "text"))
    known = {"image": features_of(image), "text": features_of(text)}
    absent = features_of(np.full((2, text.shape[1]), 9.0), [False, False])
    new = {"image": features_of(image[:2], [True, False]), "text": absent}
    candidates = np.ones(len(image), dtype=bool)
    found = compare(known, new, candidates)
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
    base.set_scales(dict.fromkeys(base.mixture.scales, 0.0))
    rows = with_new(world.train[:6], [0, 0])
    with torch.no_grad():
        base.cnet.decoder_bias.zero_()
        before = extended(world, neighbors, model=base).score(rows)[:, -2:].clone()
        shift = torch.linspace(-2.0, 2.0, base.n_items)
        is_used = base.cnet.signals.inverse_sqrt_degree > 0
        base.cnet.decoder_bias.copy_(shift - shift[is_used].mean())
        after = extended(world, neighbors, model=base).score(rows)[:, -2:]
    if settings:  # logits
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)
    else:  # the softmax has another sum
        torch.testing.assert_close(after[:, 0] / after[:, 1], before[:, 0] / before[:, 1])


@pytest.mark.slow
def test_a_trained_model_tells_whom_a_new_item_suits(world, neighbors):
    model, _ = world.trained(world.config(training__max_epochs=30))
    scores = extended(world, neighbors, model=model.eval()).score(with_new(world.train, [0, 0]))
    likes = np.arange(world.train.shape[0]) % 3 == 0
    for_likers = scores[:, -2][torch.from_numpy(likes)].median()
    for_others = scores[:, -2][torch.from_numpy(~likes)].median()
    assert for_likers > 1.5 * for_others


@pytest.fixture
def blocks():
    """120 users and 40 items in four kinds, a user with 6 items of one kind; content is the kind.

    Without the last item of each kind, which is new.
    """
    rng = np.random.default_rng(0)
    taste = np.arange(120) % 4
    rows = np.zeros((120, 36), dtype=np.float32)
    for user, kind in enumerate(taste):
        rows[user, kind * 9 + rng.choice(9, 6, replace=False)] = 1.0
    center = rng.normal(size=(4, 12))
    content = np.repeat(center, 10, axis=0) + rng.normal(size=(40, 12))
    content /= np.linalg.norm(content, axis=1, keepdims=True)
    is_new = np.arange(40) % 10 == 9
    return taste, csr_matrix(rows), content[~is_new].astype("f4"), content[is_new].astype("f4")


def query_identity(rows):
    return rows.dense()


def fit(blocks, seed=0):
    _, rows, known, _ = blocks
    head = fit_content_head(query_identity, rows, known, torch.device("cpu"), seed)
    assert head is not None
    return head


def test_the_head_learns_which_content_suits_whom(blocks):
    taste, rows, _, new = blocks
    head = fit(blocks)
    with torch.no_grad():
        vectors = head.embed_content(torch.from_numpy(new))
        found = head.log_probabilities(torch.from_numpy(rows.toarray()), vectors)
    assert (found.argmax(dim=1).numpy() == taste).mean() > 0.95


def test_a_head_is_the_same_for_a_seed_and_after_a_round_trip(blocks):
    head, again, other = fit(blocks), fit(blocks), fit(blocks, seed=1)
    arrays = head.to_arrays()
    assert all(np.array_equal(arrays[name], again.to_arrays()[name]) for name in arrays)
    assert not np.array_equal(arrays["known"], other.to_arrays()["known"])
    restored = ContentHead.from_arrays(arrays)
    queries = torch.from_numpy(blocks[1].toarray())
    vectors = torch.zeros(1, arrays["known"].shape[1])
    with torch.no_grad():
        expected = head.log_probabilities(queries, vectors)
        assert torch.equal(restored.log_probabilities(queries, vectors), expected)


def test_there_is_no_head_without_content_or_interactions(blocks):
    _, rows, known, _ = blocks
    nothing = (csr_matrix(rows.shape, dtype=np.float32), known), (rows, np.zeros_like(known))
    for train, content in nothing:
        assert fit_content_head(query_identity, train, content, torch.device("cpu"), 0) is None


def test_a_head_gives_its_probability_a_say(world, neighbors):
    """With the same neighbors, the item whose content suits the row comes before the other."""
    base = world.model(world.config(model__ease=False)).eval()
    content = world.features["image"]
    learned = base.learn_content(world.train, content, seed=0)
    rows = with_new(world.train[:8], [0, 0])
    before = extended(world, neighbors, model=base).score(rows)[:, -2:]
    base.use_content(learned, content[[world.cold_like, world.cold_unlike]])
    after = extended(world, neighbors, model=base).score(rows)
    with torch.no_grad():
        said = base.log_content_probabilities(SparseRows.from_csr(world.train[:8]))
    total = after[:, :-2].logsumexp(dim=1, keepdim=True)
    torch.testing.assert_close(after[:, -2:], 0.5 * (before + said + total))


def test_oriented_axes_do_not_depend_on_the_sign_of_the_solver():
    """A head is used on axes that are computed again, perhaps with other threads."""
    values = np.random.default_rng(0).normal(size=(60, 20)).astype(np.float32)
    axes = principal_axes(values, 8)
    flipped = axes * np.where(np.arange(8) % 2, -1.0, 1.0).astype(np.float32)
    oriented = orient_axes(axes)
    np.testing.assert_array_equal(orient_axes(flipped), oriented)
    np.testing.assert_allclose(np.abs(oriented), np.abs(axes))
