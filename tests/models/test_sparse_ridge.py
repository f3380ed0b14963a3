"""EASE weights that are sparse plus low rank: against the dense form, and within their memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_zoo import fit
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config
from ld4mrec_cli.evaluation.ranking import rank
from ld4mrec_cli.models.ease import EASE
from ld4mrec_cli.models.ease_settings import EASEConfig
from ld4mrec_cli.models.ops import sparse_ridge
from ld4mrec_cli.models.ops.item_weights import fit_item_weights
from ld4mrec_cli.models.ops.ridge import fit_ease
from ld4mrec_cli.models.ops.sparse_low_rank import SparseLowRank, SparseLowRankProduct
from ld4mrec_cli.models.ops.sparse_ridge import ItemGram, fit_sparse_ease
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.models.registry import check_trainable
from ld4mrec_cli.utils import memory
from ld4mrec_cli.utils.errors import UserError

F32 = np.dtype(np.float32)
SPARSE = {"ridge": 5.0, "max_items": 1, "neighbors": 6}


def planted(n_items: int, seed: int = 0) -> csr_matrix:
    """Users with items of one of three kinds, and some of the others."""
    rng = np.random.default_rng(seed)
    kinds, likes = np.arange(n_items) % 3, rng.integers(0, 3, 200)
    rate = np.where(kinds == likes[:, None], 0.4, 0.03)
    return csr_matrix((rng.random(rate.shape) < rate).astype(np.float32))


def content_of(n_items: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_items, 5)).astype(np.float32)


@pytest.mark.parametrize("with_content", [False, True])
@pytest.mark.parametrize(("degree_ridge", "user_exponent"), [(0.0, 0.0), (1.5, 0.5)])
@pytest.mark.parametrize("neighbors", [39, 40, 1000])
def test_all_items_as_neighbors_are_the_dense_form(
    with_content, degree_ridge, user_exponent, neighbors
):
    train, content = planted(40), content_of(40) if with_content else None
    arguments = (train, 2.0, degree_ridge, user_exponent, content)
    weights = fit_sparse_ease(*arguments, neighbors)
    assert_allclose(weights.toarray(), fit_ease(*arguments), atol=1e-6)
    assert {part.dtype for part in (weights.sparse, weights.left, weights.right)} == {F32}


@pytest.mark.parametrize("max_items", [40, 1])
def test_negative_weights_can_be_left_out(max_items):
    """Above ``max_items``, those of the sparse part."""
    settings = EASEConfig(ridge=2.0, max_items=max_items, neighbors=9)
    plain = as_array(fit_item_weights(planted(40), settings, {}))
    settings = settings.model_copy(update={"nonnegative": True})
    weights = as_array(fit_item_weights(planted(40), settings, {}))
    assert (plain < 0.0).any()
    assert_array_equal(weights, plain.clip(0.0))


def as_array(weights) -> np.ndarray:
    return weights if isinstance(weights, np.ndarray) else weights.toarray()


@given(
    n_items=st.integers(1, 25),
    neighbors=st.integers(1, 30),
    seed=st.integers(0, 1000),
    with_content=st.booleans(),
)
def test_any_number_of_neighbors_gives_a_bounded_zero_diagonal_matrix(
    n_items, neighbors, seed, with_content
):
    train, content = planted(n_items, seed), content_of(n_items, seed) if with_content else None
    weights = fit_sparse_ease(train, 3.0, 1.0, 0.5, content, neighbors)
    dense = weights.toarray()
    assert np.isfinite(dense).all()
    assert_array_equal(weights.sparse.diagonal(), 0.0)
    assert_array_equal(dense.diagonal(), 0.0)
    assert weights.sparse.nnz <= 2 * neighbors * n_items  # those of S and of its transpose
    assert weights.left.shape == weights.right.shape == (n_items, 5 if with_content else 0)


@given(neighbors=st.integers(1, 24), seed=st.integers(0, 1000))
def test_a_column_of_the_inverse_solves_its_system(neighbors, seed):
    """``A S_j = e_j`` at the item and its neighbors, before S is made symmetric."""
    gram = ItemGram.of(planted(25, seed), 3.0, 1.0, 0.5)
    dense = gram.rows.toarray() @ gram.columns.toarray() + np.diag(gram.ridge)
    for item, column in enumerate(sparse_ridge._solve_block(gram, slice(0, 25), neighbors)):
        assert len(column.items) <= max(neighbors, 0)
        assert item not in column.items
        solution = np.zeros(25)
        solution[column.items], solution[item] = 2.0 * column.values, column.own
        product = dense @ solution
        assert product[item] == pytest.approx(1.0)
        assert_allclose(product[column.items], 0.0, atol=1e-9)


def test_more_neighbors_are_closer_to_the_dense_form():
    train = planted(60)
    dense = fit_ease(train, 5.0, 1.0, 0.5)
    scores = train @ dense
    errors = []
    for neighbors in (5, 15, 30, 50):
        sparse = fit_sparse_ease(train, 5.0, 1.0, 0.5, None, neighbors)
        errors.append(np.linalg.norm(train @ sparse.toarray() - scores) / np.linalg.norm(scores))
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 0.25


def test_the_neighbors_are_the_items_that_help_most_and_ties_go_to_the_lower():
    """Item 0 has two users in common with 1, 2 and 4; item 2 has many others, too."""
    dense = np.zeros((9, 6), dtype=np.float32)
    dense[:6, 0] = 1.0
    dense[:2, 1] = dense[2:4, 4] = dense[1:9, 2] = 1.0
    dense[2:5, 3] = 1.0
    gram = ItemGram.of(csr_matrix(dense), 1.0, 0.0, 0.0)
    rows = gram.gram_rows(slice(0, 1))
    gains = {1: 4 / 3, 2: 25 / 9, 3: 9 / 4, 4: 4 / 3}
    order = sorted(gains, key=lambda item: (-gains[item], item))
    assert order == [2, 3, 1, 4]
    for neighbors in range(1, 5):
        items, values = sparse_ridge._find_neighbors(gram, rows, 0, 0, neighbors)
        assert items.tolist() == sorted(order[:neighbors])
        assert_allclose(values, (dense.T @ dense)[0, items])


def test_content_relates_items_that_nobody_took_together():
    """Items 0 and 1 have the same features, and users of their own."""
    train = csr_matrix(np.eye(8, dtype=np.float32)[[0, 1, 2, 3, 2, 3]])
    content = np.eye(8, dtype=np.float32)[:, :4].copy()
    content[1] = content[0]
    weights = fit_sparse_ease(train, 1.0, content=content, neighbors=1).toarray()
    assert weights[0, 1] == pytest.approx(fit_ease(train, 1.0, content=content)[0, 1], abs=1e-6)
    assert weights[0, 1] > 0.1


@pytest.mark.parametrize("block_size", [1, 60, 500])
def test_neither_blocks_nor_threads_change_the_weights(monkeypatch, block_size):
    arguments = (planted(60), 5.0, 1.0, 0.5, content_of(60), 7)
    whole = fit_sparse_ease(*arguments)
    monkeypatch.setattr(sparse_ridge, "BLOCK_ENTRIES", block_size)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_array_equal(fit_sparse_ease(*arguments).toarray(), whole.toarray())


@given(seed=st.integers(0, 100), entries=st.integers(1, 3000), items=st.integers(1, 70))
def test_blocks_cover_the_items_within_their_bounds(seed, entries, items):
    gram = ItemGram.of(planted(60, seed), 3.0, 1.0, 0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_ridge, "BLOCK_ENTRIES", entries)
        patch.setattr(sparse_ridge, "BLOCK_ITEMS", items)
        blocks = gram.blocks()
    assert np.concatenate([np.arange(60)[block] for block in blocks]).tolist() == list(range(60))
    for block in blocks:
        n = block.stop - block.start
        assert 1 <= n <= items
        assert n == 1 or gram.gram_rows(block).nnz <= entries


def test_no_matrix_of_items_by_items_is_formed(monkeypatch):
    """What is dense has at most ``neighbors²`` entries, or ``dim`` for an item."""
    n, shapes = 60, []
    monkeypatch.setattr(sparse_ridge, "BLOCK_ENTRIES", 4 * n)
    to_array, gram_rows = csr_matrix.toarray, ItemGram.gram_rows

    def record(matrix, *arguments, **options):
        shapes.append(matrix.shape)
        return to_array(matrix, *arguments, **options)

    def record_rows(gram, block):
        rows = gram_rows(gram, block)
        assert rows.nnz <= 4 * n
        return rows

    monkeypatch.setattr(csr_matrix, "toarray", record)
    monkeypatch.setattr(ItemGram, "gram_rows", record_rows)
    weights = fit_sparse_ease(planted(n), 5.0, 1.0, 0.5, content_of(n), 7)
    assert max(shapes) == (7, 7)
    assert weights.sparse.nnz <= 2 * 7 * n


@pytest.mark.parametrize("train", [csr_matrix((4, 3)), csr_matrix((0, 3)), csr_matrix((5, 1))])
def test_without_anything_to_learn_all_weights_are_zero(train):
    weights = fit_sparse_ease(train.astype(np.float32), 1.0)
    assert_array_equal(weights.toarray(), np.zeros((train.shape[1],) * 2))


@pytest.mark.parametrize("neighbors", [1, 3, 10])
def test_a_ridge_that_is_too_small_is_refused(neighbors):
    train = csr_matrix(np.ones((3, 6), dtype=np.float32))
    with pytest.raises(UserError, match="no inverse in float64") as caught:
        fit_sparse_ease(train, 1e-30, neighbors=neighbors)
    assert "Raise the ridge" in str(caught.value)


def test_ease_takes_the_sparse_form_above_its_bound():
    train = planted(30)
    at, above = (fit("ease", train, Config(ease={"max_items": bound})) for bound in (30, 29))
    assert isinstance(at.weights, np.ndarray)
    assert at.note is None
    assert isinstance(above.weights, SparseLowRank)
    assert "approximation by 400 neighbors" in above.note
    assert "30 items are more than ease.max_items, 29" in above.note
    assert set(above.arrays()) == {"data", "indices", "indptr", "left", "right"}
    torch.testing.assert_close(above.score(train), at.score(train), atol=1e-6, rtol=1e-5)


def test_weights_restore_and_score_alone_as_in_a_batch():
    train, features = planted(30), {"text": content_of(30)}
    config = Config(ease={**SPARSE, "content_weight": 4.0})
    fitted = fit("ease", train, config, features)
    restored = EASE.from_arrays(fitted.arrays(), config.ease)
    together = restored.score(train)
    assert torch.equal(together, fitted.score(train))
    expected = torch.from_numpy(train @ fitted.weights.toarray())
    torch.testing.assert_close(together, expected, atol=1e-6, rtol=1e-5)
    alone = torch.cat([restored.score(row) for row in train])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=1e-6)


def test_some_items_are_scored_alone_as_among_all():
    train = planted(30)
    settings = EASEConfig(max_items=10, neighbors=6, content_weight=2.0)
    model = EASE.fit(train, settings, {"text": content_of(30)}, seed=0)
    items = np.array([29, 3, 11])
    whole = model.score(train)
    torch.testing.assert_close(model.score_items(train, items), whole[:, items])
    shares = model.history_shares(train[:1], items)
    assert shares.sum(axis=0) == pytest.approx(whole[0, items].numpy(), abs=1e-6)


def test_rows_with_noise_are_multiplied_too():
    weights = fit_sparse_ease(planted(30), 5.0, content=content_of(30), neighbors=6)
    rows = replace(SparseRows.from_csr(planted(30, 1)[:4]), noise=torch.randn(4, 30))
    expected = rows.dense() @ torch.from_numpy(weights.toarray())
    product = SparseLowRankProduct(weights)(rows)
    torch.testing.assert_close(product, expected, atol=1e-5, rtol=1e-5)


def damage(name: str) -> dict[str, np.ndarray]:
    arrays = fit_sparse_ease(planted(9), 5.0, content=content_of(9), neighbors=3).arrays()
    return {**arrays, name: arrays[name][:-1]}


@pytest.mark.parametrize("name", ["data", "indices", "indptr", "left", "right"])
def test_arrays_that_do_not_fit_together_are_refused(name):
    with pytest.raises(ValueError, match=r"\w"):
        SparseLowRank.from_arrays(damage(name))


def test_the_withheld_item_of_a_block_ranks_first():
    dense = np.kron(np.eye(4), np.ones((6, 6))) - np.eye(24)
    train = csr_matrix(dense.astype(np.float32))
    scorer = fit("ease", train, Config(ease={**SPARSE, "ridge": 0.5, "neighbors": 5}))
    assert rank(scorer, train, train, 1)[0][:, 0].tolist() == list(range(24))


def test_content_ranks_an_item_that_nobody_has():
    """Also where each modality has its weight, and the other none."""
    rng = np.random.default_rng(0)
    kinds, likes = np.arange(12) % 2, rng.integers(0, 2, 40)
    dense = ((kinds == likes[:, None]) & (rng.random((40, 12)) < 0.6)).astype(np.float32)
    dense[:, 11] = 0.0
    train = csr_matrix(dense)
    features = {
        "text": np.stack([kinds, 1 - kinds], axis=1).astype(np.float32),
        "noise": rng.normal(size=(12, 2)).astype(np.float32),
    }
    weighted = {**SPARSE, "content_weight": {"text": 10.0}}
    scores = fit("ease", train, Config(ease=weighted), features).score(train).numpy()
    assert scores[likes == 1, 11].min() > 0.01
    assert scores[likes == 0, 11].max() < 0.0
    plain = fit("ease", train, Config(ease=SPARSE), features)
    assert_array_equal(plain.score(train)[:, 11], 0.0)


def test_wide_features_are_reduced(monkeypatch):
    seen = []

    def record(*arguments):
        seen.append(arguments[4].shape)
        return fit_sparse_ease(*arguments)

    monkeypatch.setattr("ld4mrec_cli.models.ops.item_weights.fit_sparse_ease", record)
    monkeypatch.setattr("ld4mrec_cli.models.ops.item_weights.CONTENT_DIM", 4)
    features = {"image": content_of(30, 1), "text": content_of(30, 2)[:, :3]}
    fit("ease", planted(30), Config(ease={**SPARSE, "content_weight": 2.0}), features)
    assert seen == [(30, 4 + 3)]


def test_only_the_dense_form_is_refused_by_memory(monkeypatch):
    monkeypatch.setattr(memory, "physical_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"ease needs about .*Lower ease\.max_items"):
        check_trainable("ease", 20_000, (), Config().ease)
    check_trainable("ease", 20_001, (), Config().ease)
