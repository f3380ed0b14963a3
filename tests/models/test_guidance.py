from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ld4mrec.guidance import GuidanceSignals, ItemItemWeights
from ld4mrec_cli.models.ops import item_bases
from ld4mrec_cli.models.ops.item_bases import (
    collaborative_basis,
    inverse_sqrt,
    modality_basis,
    principal_axes,
)
from ld4mrec_cli.models.ops.ridge import fit_ease
from ld4mrec_cli.models.ops.sparse_rows import SparseRows


@pytest.fixture
def train() -> csr_matrix:
    """Random interactions with one cold item and one cold user."""
    dense = (np.random.default_rng(3).random((30, 14)) < 0.3).astype(np.float32)
    dense[:, 5] = 0.0
    dense[7] = 0.0
    return csr_matrix(dense)


def degree(train: csr_matrix) -> np.ndarray:
    return np.asarray(train.sum(axis=0)).ravel()


def normalized(train: csr_matrix) -> np.ndarray:
    """``D_u^-1/2 X D_i^-1/2`` in dense numbers."""
    dense = train.toarray().astype(np.float64)
    users, items = dense.sum(axis=1), dense.sum(axis=0)
    users[users == 0], items[items == 0] = np.inf, np.inf
    return dense / np.sqrt(users)[:, None] / np.sqrt(items)


def test_guidance_is_the_unit_vector_of_the_degree_scaled_sum(train):
    basis = np.random.default_rng(0).normal(size=(14, 4))
    actual = GuidanceSignals({"image": basis}, degree(train))(SparseRows.from_csr(train))[
        "image"
    ].numpy()
    scale = np.array([1 / np.sqrt(d) if d else 0.0 for d in degree(train)])
    expected = (train.toarray() * scale) @ basis
    filled = np.flatnonzero(train.getnnz(axis=1))
    assert_allclose(
        actual[filled],
        (expected / np.linalg.norm(expected, axis=1, keepdims=True).clip(1e-9))[filled],
        atol=1e-5,
    )
    assert_allclose(np.linalg.norm(actual[filled], axis=1), 1.0, atol=1e-5)


def test_guidance_of_an_empty_row_is_zero(train):
    signals = GuidanceSignals({"image": np.ones((14, 4)), "text": np.ones((14, 2))}, degree(train))
    actual = signals(SparseRows.from_csr(csr_matrix((2, 14), dtype=np.float32)))
    assert {name: value.shape for name, value in actual.items()} == {
        "image": (2, 4),
        "text": (2, 2),
    }
    assert all((value == 0).all() for value in actual.values())


def test_items_without_interactions_contribute_nothing_to_guidance(train):
    signals = GuidanceSignals(
        {"image": np.random.default_rng(0).normal(size=(14, 4))}, degree(train)
    )
    cold_alone = np.zeros((1, 14), dtype=np.float32)
    cold_alone[0, 5] = 1.0
    assert (signals(SparseRows.from_csr(csr_matrix(cold_alone)))["image"] == 0).all()
    without = train.toarray()[:1]
    with_cold = without + cold_alone
    expected = signals(SparseRows.from_csr(csr_matrix(without)))["image"]
    torch.testing.assert_close(
        signals(SparseRows.from_csr(csr_matrix(with_cold)))["image"], expected
    )


def test_inverse_sqrt_of_zero_is_zero():
    assert_allclose(inverse_sqrt(np.array([0, 1, 4])), [0.0, 1.0, 0.5])


def test_collaborative_basis_spans_the_leading_singular_vectors(train):
    rank = 5
    actual = collaborative_basis(train, rank, seed=0)
    _, values, vt = np.linalg.svd(normalized(train))
    assert values[rank - 1] - values[rank] > 1e-3  # else the subspace is not defined
    assert actual.shape == (14, rank)
    assert_allclose(actual.T @ actual, np.eye(rank), atol=1e-8)
    assert_allclose(actual @ actual.T, vt[:rank].T @ vt[:rank], atol=1e-4)


def test_collaborative_basis_is_a_function_of_data_and_seed(train):
    assert_array_equal(collaborative_basis(train, 5, seed=1), collaborative_basis(train, 5, seed=1))


def test_collaborative_rank_is_bounded_by_the_matrix(train):
    for rows in (train, train[:6]):
        assert collaborative_basis(rows, 500, seed=0).shape == (
            14,
            np.linalg.matrix_rank(rows.toarray()),
        )


def test_items_without_interactions_have_no_place_in_the_collaborative_basis(train):
    assert (degree(train) == 0).any()
    assert_allclose(collaborative_basis(train, 500, seed=0)[degree(train) == 0], 0.0, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.5, 50.0])
def test_ridge_item_weights_are_the_textbook_closed_form(train, ridge):
    dense = train.toarray().astype(np.float64)
    precision = np.linalg.inv(dense.T @ dense + ridge * np.eye(14))
    expected = np.eye(14) - precision / np.diag(precision)
    actual = fit_ease(train, ridge)
    assert actual.dtype == np.float32
    assert_allclose(actual, expected, atol=1e-5)
    assert_array_equal(np.diag(actual), 0.0)


def test_ridge_item_weights_solve_the_regression_of_each_item_on_the_others(train):
    dense, ridge, item = train.toarray().astype(np.float64), 2.0, 3
    others = [i for i in range(14) if i != item]
    x = dense[:, others]
    expected = np.linalg.solve(x.T @ x + ridge * np.eye(13), x.T @ dense[:, item])
    assert_allclose(fit_ease(train, ridge)[others, item], expected, atol=1e-5)


def test_users_and_degrees_weigh_in_the_regression_as_documented(train):
    dense = train.toarray().astype(np.float64)
    degree = dense.sum(axis=1)
    weight = np.maximum(degree, 1) ** -0.5
    weight *= degree.sum() / (weight @ degree)
    assert (weight @ degree) / degree.sum() == pytest.approx(1.0)
    gram = dense.T @ np.diag(weight) @ dense
    precision = np.linalg.inv(gram + np.diag(3.0 + 2.0 * np.diag(gram)))
    actual = fit_ease(train, 3.0, degree_ridge=2.0, user_exponent=0.5)
    assert_allclose(actual, np.eye(14) - precision / np.diag(precision), atol=1e-5)


def test_a_degree_ridge_is_dropout_on_the_rows():
    """EDLAE: dropout at rate p multiplies the diagonal of the normal equations by 1/(1-p)."""
    rng = np.random.default_rng(0)
    dense = (rng.random((40, 6)) < 0.4).astype(np.float64)
    rate, item = 0.25, 2
    others = [i for i in range(6) if i != item]
    masks = rng.random((4000, *dense.shape)) >= rate
    gram, target = np.zeros((5, 5)), np.zeros(5)
    for mask in masks:
        x = (dense * mask)[:, others]
        gram += x.T @ x / len(masks)
        target += x.T @ dense[:, item] / len(masks)
    by_dropout = np.linalg.solve(gram / (1 - rate) ** 2 + 1e-9 * np.eye(5), target / (1 - rate))
    actual = fit_ease(csr_matrix(dense.astype(np.float32)), 1e-9, degree_ridge=rate / (1 - rate))
    assert_allclose(actual[others, item], by_dropout, atol=0.01)


def test_item_weights_multiply_the_rows(train):
    weights = fit_ease(train, 2.0)
    actual = ItemItemWeights(weights, 1.0)(SparseRows.from_csr(train)).numpy()
    assert_allclose(actual, train.toarray() @ weights, atol=1e-5)


def test_modality_basis_has_unit_rows_of_standardized_features(train):
    values = (
        np.random.default_rng(0)
        .normal(loc=50.0, scale=[1.0, 10.0, 0.1], size=(14, 3))
        .astype(np.float32)
    )
    actual = modality_basis(values, 8)
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    assert_allclose(actual, standard / np.linalg.norm(standard, axis=1, keepdims=True), atol=1e-3)
    assert_allclose(np.linalg.norm(actual, axis=1), 1.0, atol=1e-5)


def test_constant_columns_add_nothing(train):
    values = np.random.default_rng(0).normal(size=(14, 3)).astype(np.float32)
    padded = np.column_stack([values, np.full(14, 1e6), np.full(14, 0.1)]).astype(np.float32)
    assert_allclose(modality_basis(padded, 8)[:, :3], modality_basis(values, 8), atol=1e-5)


def test_features_that_are_all_the_same_give_zeros_and_not_nan(train):
    assert_array_equal(modality_basis(np.full((14, 3), 0.3), 8), np.zeros((14, 3)))


def test_wide_features_are_reduced_to_their_principal_axes(train):
    values = np.random.default_rng(0).normal(size=(14, 9)).astype(np.float32)
    actual = modality_basis(values, 4)
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    left, lengths, _ = np.linalg.svd(standard, full_matrices=False)
    scores = left[:, :4] * lengths[:4]
    expected = scores / np.linalg.norm(scores, axis=1, keepdims=True)
    assert actual.shape == (14, 4)
    assert_allclose(
        actual @ actual.T, expected @ expected.T, atol=1e-4
    )  # equal up to the sign of each axis


def test_principal_axes_come_in_order_of_variance():
    centered = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 5.0, 2.0]
    axes = np.abs(principal_axes(centered.astype(np.float32), 2))
    assert axes.argmax(axis=0).tolist() == [1, 2]


def test_the_basis_of_a_large_catalog_is_that_of_a_small_one(world, monkeypatch):
    expected = collaborative_basis(world.train, 6, seed=0)
    monkeypatch.setattr(item_bases, "LARGE_CATALOG", 30)
    actual = collaborative_basis(world.train, 6, seed=0)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(
        np.abs(np.sum(actual * expected, axis=0)), 1.0, atol=1e-3
    )  # but for the signs
    whole = collaborative_basis(world.train, 100, seed=0)
    np.testing.assert_allclose(whole.T @ whole, np.eye(whole.shape[1]), atol=1e-3)
    assert whole.shape[1] == np.linalg.matrix_rank(world.train.toarray())
