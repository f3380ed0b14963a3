"""Weights of interactions in each model that reads them: known answers, and 1 is as without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_zoo import CLOSED_FORM, build, fit
from scipy.sparse import csr_matrix, diags

from ld4mrec_cli.models.base import Recommender
from ld4mrec_cli.models.batches import RowBatches
from ld4mrec_cli.models.ease import EASE
from ld4mrec_cli.models.ease_settings import EASEConfig
from ld4mrec_cli.models.ials import IALS
from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.itemknn import ItemKNN
from ld4mrec_cli.models.itemknn_settings import ItemKNNConfig
from ld4mrec_cli.models.ld4mrec.guidance import ItemItemWeights
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ld4mrec.row_weights import RowWeights
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.models.ops.als import LeastSquares
from ld4mrec_cli.models.ops.ridge import fit_ease
from ld4mrec_cli.models.ops.sparse_ridge import fit_sparse_ease
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.models.popularity import Popularity
from ld4mrec_cli.models.specs import MODELS

READERS = [name for name, spec in MODELS.items() if spec.reads_weights]


@pytest.fixture(scope="module")
def weighted(world) -> csr_matrix:
    """The world's training interactions with random weights of mean 1."""
    matrix = world.train.copy()
    values = np.random.default_rng(5).choice([0.25, 1.0, 3.0], size=matrix.nnz)
    matrix.data = (values / values.mean()).astype(np.float32)
    return matrix


def make(name: str, train: csr_matrix, world) -> Recommender:
    """A fitted or untrained model of weighted interactions."""
    config = world.config_of({"model_name": name, "model.ials": True})
    if name == "ld4mrec":
        signals = ItemSignals.compute(config.model, train, world.features, 0)
        return LD4MRec(config.model, config.diffusion, config.training, signals)
    return (fit if name in CLOSED_FORM else build)(name, train, config, world.features)


def test_popularity_adds_up_the_weights(weighted):
    scores = Popularity.fit(weighted, None, {}, 0).score(weighted[:1])
    np.testing.assert_allclose(scores[0], np.asarray(weighted.sum(axis=0))[0], rtol=1e-5)


def test_similarity_is_the_cosine_of_the_roots_of_weights(weighted):
    similarity = ItemKNN.fit(weighted, ItemKNNConfig(neighbors=1000), {}, 0).weights.toarray()
    roots = np.sqrt(weighted.toarray())
    length = np.linalg.norm(roots, axis=0)
    expected = roots.T @ roots / np.maximum(np.outer(length, length), 1e-12)
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(similarity, expected, atol=1e-5)


def test_ease_is_the_regression_of_the_roots_of_weights(weighted):
    roots = np.sqrt(weighted.toarray().astype(np.float64))
    inverse = np.linalg.inv(roots.T @ roots + 20.0 * np.eye(roots.shape[1]))
    expected = np.eye(len(inverse)) - inverse / np.diag(inverse)
    model = EASE.fit(weighted, EASEConfig(ridge=20.0), {}, 0)
    np.testing.assert_allclose(model.weights, expected, atol=1e-5)
    np.testing.assert_allclose(model.score(weighted), roots @ expected, atol=1e-4)


def test_users_whose_events_all_weigh_w_are_users_of_weight_w(world):
    """The root makes event weights agree with user weights: G = Xᵀ W X."""
    w = np.random.default_rng(1).uniform(0.5, 2.0, size=world.train.shape[0])
    x = world.train.toarray().astype(np.float64)
    inverse = np.linalg.inv(x.T @ (w[:, None] * x) + 20.0 * np.eye(x.shape[1]))
    expected = np.eye(len(inverse)) - inverse / np.diag(inverse)
    weighted = csr_matrix(diags(w) @ world.train).astype(np.float32)
    np.testing.assert_allclose(fit_ease(weighted, 20.0), expected, atol=1e-5)


def test_the_form_for_large_catalogs_has_the_same_weights(weighted):
    ridges = (20.0, 0.5, 0.5)
    sparse = fit_sparse_ease(weighted, *ridges, neighbors=10_000)
    np.testing.assert_allclose(sparse.toarray(), fit_ease(weighted, *ridges), atol=1e-5)
    whole = EASE.fit(weighted, EASEConfig(ridge=20.0), {}, 0)
    parts = EASE.fit(weighted, EASEConfig(ridge=20.0, max_items=1, neighbors=10_000), {}, 0)
    np.testing.assert_allclose(parts.score(weighted), whole.score(weighted), atol=1e-4)
    items = np.array([1, 4, 7])
    np.testing.assert_allclose(
        parts.score_items(weighted, items), whole.score(weighted)[:, items], atol=1e-4
    )


@pytest.mark.parametrize("factors", [3, 30], ids=["direct", "woodbury"])
@pytest.mark.parametrize("nu", [0.0, 0.7])
def test_least_squares_have_the_weights_as_confidence(weighted, factors, nu):
    settings = IALSConfig(
        factors=factors, unobserved_weight=0.05, regularization=0.2, frequency_exponent=nu
    )
    other = torch.randn(weighted.shape[1], factors, generator=torch.Generator().manual_seed(0))
    solved = LeastSquares(other, settings).solve(weighted).numpy()
    v = other.double().numpy()
    for row in (0, 5, 11):
        c = weighted[row].toarray()[0].astype(np.float64)
        ridge = 0.2 * (c.sum() + 0.05 * len(c)) ** nu
        left = 0.05 * v.T @ v + v.T @ (c[:, None] * v) + ridge * np.eye(factors)
        np.testing.assert_allclose(solved[row], np.linalg.solve(left, v.T @ c), atol=1e-4)


def test_ials_with_equal_weights_is_ials_with_less_weight_for_the_others(world):
    """Weights c for all: α₀ and λ count as if divided by c."""
    doubled = world.train * np.float32(2.0)
    first = IALSConfig(factors=4, unobserved_weight=0.2, regularization=0.2, frequency_exponent=0.0)
    second = IALSConfig(
        factors=4, unobserved_weight=0.1, regularization=0.1, frequency_exponent=0.0
    )
    one, two = (
        IALS.fit(train, settings, {}, 0).score(train)
        for train, settings in ((doubled, first), (world.train, second))
    )
    np.testing.assert_allclose(one, two, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_weights_act_and_equal_ones_do_not(world, weighted, name):
    """The scores of weighted training data and rows differ from those of 0 and 1; 1 does not."""

    def scores(train: csr_matrix) -> torch.Tensor:
        return make(name, train, world).score(train, np.arange(train.shape[0]))

    binary = scores(world.train)
    assert (scores(weighted) - binary).abs().max() > 1e-4
    assert torch.equal(scores(world.train.copy()), binary)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ease", "itemknn", "ials", "ld4mrec", "multvae"])
def test_shares_of_a_weighted_history_add_up_to_the_score(world, weighted, name):
    model = make(name, weighted, world)
    row, items = weighted[3], np.arange(12)
    shares = model.history_shares(row, items)
    assert shares.shape == (row.nnz, 12)
    np.testing.assert_allclose(shares.sum(axis=0), model.score(row)[0, :12].detach(), atol=1e-4)


def test_batches_carry_the_weights(weighted):
    batch = next(RowBatches(weighted, 1000).epoch(np.random.default_rng(0), torch.device("cpu")))
    assert batch.values.sum() == pytest.approx(weighted.sum(), rel=1e-5)
    assert torch.equal(batch.weights, batch.values)
    rooted = batch.with_root_weights()
    torch.testing.assert_close(rooted.values, batch.values.sqrt())
    kept = batch.filter(batch.items % 2 == 0)[3:9]
    assert torch.equal(kept.weights, kept.values)


def test_rows_without_weights_have_none(world):
    batch = next(RowBatches(world.train, 8).epoch(np.random.default_rng(0), torch.device("cpu")))
    assert batch.weights is None
    assert SparseRows.from_csr(world.train).weights is None
    assert batch.with_root_weights() is batch


def test_the_root_of_a_noisy_weight_keeps_the_scale_of_the_signal(weighted):
    """Gaussian noise scales a row by √ᾱ: EASE gets √ᾱ √w, not the root of all."""
    rows = SparseRows.from_csr(weighted[:4])
    noisy = replace(rows, values=rows.values * 0.5, noise=torch.zeros(4, rows.n_items))
    b = np.random.default_rng(0).normal(size=(rows.n_items, rows.n_items)).astype(np.float32)
    expected = 0.5 * np.sqrt(weighted[:4].toarray()) @ b
    actual = ItemItemWeights(b, 1.0)(noisy)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def model_of(world, train, **settings) -> LD4MRec:
    config = world.config_of(settings)
    signals = ItemSignals.compute(config.model, train, world.features, 0)
    model = LD4MRec(config.model, config.diffusion, config.training, signals)
    model.batches(train, 16)
    return model


def loss_of(model: LD4MRec, rows: SparseRows) -> float:
    return float(model.loss(rows, torch.Generator().manual_seed(3)).detach())


ALL_TARGETS = {
    "training.target": "all",
    "diffusion.mask_rate": 0.0,
    "diffusion.soft_reconstruction": False,
    "model.dropout": 0.0,
}


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_a_target_counts_in_proportion_to_its_weight(world, weighted, exponent):
    """Cross-entropy with labels w / Σw, of a row that weighs (Σw)^a over the mean of this."""
    settings = {**ALL_TARGETS, "training.row_weight_exponent": exponent}
    model = model_of(world, weighted, **settings)
    rows = SparseRows.from_csr(weighted)
    scores = model.cnet.scores(rows, torch.zeros(len(rows), dtype=torch.int64))
    labels = torch.from_numpy(weighted.toarray())
    total = labels.sum(dim=1)
    losses = -(labels / total[:, None] * scores.log_softmax(dim=1)).sum(dim=1)
    row_weights = total**exponent / (total**exponent).mean()
    expected = float((losses * row_weights).mean().detach())
    assert loss_of(model, rows) == pytest.approx(expected, rel=1e-4)


def test_sampled_candidates_estimate_the_weighted_loss(world, weighted):
    """With all items as candidates the loss is that over the catalog."""
    settings = {**ALL_TARGETS, "training.row_weight_exponent": 0.5}
    whole = model_of(world, weighted, **settings)
    n_items = weighted.shape[1]
    sampled = model_of(world, weighted, **settings, **{"training.sampled_items": n_items - 1})
    rows = SparseRows.from_csr(weighted)
    assert sampled.objective.n_sampled == n_items - 1
    assert loss_of(sampled, rows) == pytest.approx(loss_of(whole, rows), rel=1e-4)


def test_the_squared_error_predicts_the_weights(world, weighted):
    settings = {**ALL_TARGETS, "training.loss": "mse", "model.ease": False}
    model = model_of(world, weighted, **settings)
    rows = SparseRows.from_csr(weighted)
    scores = model.cnet.scores(rows, torch.zeros(len(rows), dtype=torch.int64))
    expected = (scores - rows.dense()).square().mean()
    assert loss_of(model, rows) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_guidance_is_linear_in_the_weights(world, weighted):
    model = model_of(world, weighted)
    degree = np.asarray(weighted.sum(axis=0)).ravel()
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    basis = model.cnet.signals.basis("collaborative").numpy()
    expected = (weighted.toarray() * scale) @ basis
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    guides = model.cnet.signals(SparseRows.from_csr(weighted))["collaborative"]
    np.testing.assert_allclose(guides, expected, atol=1e-5)


def test_the_rows_that_count_weigh_one_in_the_mean():
    rng = np.random.default_rng(0)
    lengths = np.array([2] * 10 + [30] * 4)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    columns = np.concatenate([np.arange(length) for length in lengths])
    values = rng.uniform(0.5, 1.5, size=len(rows)) * np.repeat(rng.uniform(0.2, 5, 14), lengths)
    train = csr_matrix((values, (rows, columns)))
    weights = RowWeights(0.5)
    weights.fit(train, 0.6)
    totals = []
    for _ in range(3000):
        masked = values * (rng.random(len(values)) < 0.6)
        total = np.bincount(rows, masked)
        totals.append(total[total > 0])
    drawn = torch.from_numpy(np.concatenate(totals))
    assert float(weights.apply(torch.ones(len(drawn)), drawn).mean()) == pytest.approx(1, rel=0.02)
