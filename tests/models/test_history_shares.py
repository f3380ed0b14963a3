"""Shares of a history in the scores add up to the scores, for every model that reads histories."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_zoo import CLOSED_FORM, build
from model_zoo import fit as fit_model
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ops import history_shares
from ld4mrec_cli.models.ops.history_shares import leave_one_out, split_scores
from ld4mrec_cli.models.pairwise import FactorModel
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.utils.errors import UserError

N_ITEMS = 38
LD4MREC = {
    "ld4mrec": {"model__ials": True},
    "ld4mrec, trend": {},
    "ld4mrec, C-Net alone": {"model__ease": False},
    "ld4mrec, squared error": {"training__loss": "mse", "model__ease": True},
    "ld4mrec, reverse chain": {"diffusion__inference_steps": 3, "diffusion__noise_scale": 5.0},
}
EXPLAINED = [*LD4MREC, *(n for n, spec in MODELS.items() if spec.has_reasons and n != "ld4mrec")]


@pytest.fixture(scope="module")
def model_of(world):
    """Models by name; those that are trained have their first weights."""

    @functools.cache
    def make(name):
        if name in LD4MREC:
            model = world.model(world.config(**LD4MREC[name])).eval()
            if name.endswith("trend"):
                model.set_trend(np.linspace(-1.0, 1.0, N_ITEMS, dtype=np.float32))
            return model
        config = world.config(model_name=name, ials__factors=6)
        if name in CLOSED_FORM:
            return fit_model(name, world.train, config)
        return build(name, world.train, config).eval()

    return make


def row_of(items):
    row = np.zeros((1, N_ITEMS), dtype=np.float32)
    row[0, sorted(items)] = 1.0
    return csr_matrix(row)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPLAINED)
def test_the_shares_add_up_to_the_score(model_of, name):
    model = model_of(name)

    @given(
        history=st.sets(st.integers(0, N_ITEMS - 1), min_size=1, max_size=12),
        items=st.sets(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6),
    )
    def check(history, items):
        row, chosen = row_of(history), np.array(sorted(items))
        shares = model.history_shares(row, chosen)
        assert shares.shape == (len(history), len(items))
        assert shares.dtype == np.float32
        scores = model.score(row)[0, chosen].numpy()
        scale = np.abs(shares).sum(axis=0).max() + 1e-3
        np.testing.assert_allclose(shares.sum(axis=0), scores, atol=3e-5 * scale, rtol=1e-4)

    check()


@pytest.mark.parametrize("name", EXPLAINED)
def test_an_empty_history_has_no_shares(model_of, name):
    assert model_of(name).history_shares(row_of([]), np.array([3, 5])).shape == (0, 2)


@pytest.mark.parametrize("name", ["ease", "itemknn"])
def test_the_weights_are_the_shares(model_of, name):
    model = model_of(name)
    dense = model.weights if isinstance(model.weights, np.ndarray) else model.weights.toarray()
    shares = model.history_shares(row_of([2, 9, 30]), np.array([5, 1]))
    np.testing.assert_array_equal(shares, dense[np.ix_([2, 9, 30], [5, 1])])


@pytest.mark.parametrize("factors", [3, 12])
def test_least_squares_are_split_by_their_equation(world, factors):
    """Shares ``vᵀ A⁻¹ v_i`` with the left side A of the row, by the plain formula."""
    config = world.config(model_name="ials", ials__factors=factors)
    model, settings = fit_model("ials", world.train, config), config.ials
    history, items = [2, 9, 14, 20, 30], np.array([5, 1])
    vectors = model.items.numpy().astype(np.float64)
    own, weight = vectors[history], settings.unobserved_weight
    frequency = (len(history) + weight * N_ITEMS) ** settings.frequency_exponent
    left = weight * vectors.T @ vectors + own.T @ own
    left += settings.regularization * frequency * np.eye(factors)
    expected = own @ np.linalg.solve(left, vectors[items].T)
    np.testing.assert_allclose(model.history_shares(row_of(history), items), expected, atol=1e-4)


def test_a_part_that_is_clamped_has_no_shares(world, model_of):
    """The linear parts of the mixture give ``scale x_i B_ij`` where they are positive, else 0."""
    model = model_of("ld4mrec")
    history, items = [0, 3, 7, 8], torch.arange(N_ITEMS)
    model.mixture.set_scales({"ials": 0.0, "ease": 2.0})
    shares = model.mixture.linear_shares(row_of(history), items)
    weights = 2.0 * model.mixture.ease.weights[history]
    is_clamped = weights.sum(dim=0) <= 0.0
    assert 0 < is_clamped.sum() < N_ITEMS
    torch.testing.assert_close(shares[:, ~is_clamped], weights[:, ~is_clamped])
    assert (shares[:, is_clamped] == 0.0).all()


def test_scores_are_split_in_proportion_to_what_is_lost():
    scores = torch.tensor([[6.0, -1.0, 2.0, 1e-30]])
    losses = torch.tensor(
        [[1.0, 2.0, -1.0, 3e-40], [-5.0, -1.0, -3.0, 0.0], [2.0, 1.0, 0.0, 1e-40]]
    )
    shares = split_scores(scores, losses)
    expected = torch.tensor(
        [[2.0, 1.0, 1.0, 0.75e-30], [0.0, -2.0, -1.0, 0.0], [4.0, 0.0, 2.0, 0.25e-30]]
    )
    torch.testing.assert_close(shares, expected, rtol=1e-4, atol=1e-38)


def test_each_item_is_left_out_once_in_batches(monkeypatch):
    """The cost is (length of the history + 1) rows, whatever the batches."""
    value = torch.arange(float(N_ITEMS)).unsqueeze(1)
    scored = []

    def score(rows):
        scored.append(rows.shape[0])
        return torch.from_numpy(rows.toarray()) @ value

    row = row_of([1, 4, 6, 20, 37])
    whole = leave_one_out(score, row)
    assert scored == [1, 5]
    torch.testing.assert_close(whole.squeeze(1), torch.tensor([1.0, 4.0, 6.0, 20.0, 37.0]))
    monkeypatch.setattr(history_shares, "CHUNK_SIZE", 2)
    scored.clear()
    torch.testing.assert_close(leave_one_out(score, row), whole)
    assert scored == [1, 2, 2, 1]


def test_models_without_reasons_say_so(world):
    tensors = {"user_factors": torch.ones(2, 2), "item_factors": torch.ones(5, 2)}
    factors = FactorModel(tensors | {"item_bias": torch.zeros(5)})
    popularity = fit_model("popularity", world.train, world.config())
    for model in (factors, popularity):
        with pytest.raises(UserError, match=r"has no reasons\. Use a model that does: ld4mrec"):
            model.check_shares()
        with pytest.raises(UserError, match="has no reasons"):
            model.history_shares(row_of([1]), np.array([0]))
