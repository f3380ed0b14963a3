"""Losses that do not compute the scores of the whole catalog, against those that do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ld4mrec import losses as losses_module
from ld4mrec_cli.models.ld4mrec.diffusion import ForwardProcess
from ld4mrec_cli.models.ld4mrec.losses import SquaredError, squared, squared_by_gram
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ld4mrec.sampled_softmax import (
    Candidates,
    CandidateSampler,
    _sample_others,
)
from ld4mrec_cli.models.ld4mrec.softmax_loss import multinomial
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.schedule import LinearSchedule
from ld4mrec_cli.models.ops.sparse_rows import SparseRows

N_ITEMS = 40


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def train() -> csr_matrix:
    """30 rows; low items are popular, the last is in no row, the first in nearly all."""
    share = np.linspace(0.8, 0.0, N_ITEMS)
    return csr_matrix((np.random.default_rng(0).random((30, N_ITEMS)) < share).astype(np.float32))


@pytest.fixture
def products() -> FactoredScores:
    shapes = [(30, 5), (30, 3), (N_ITEMS, 5), (N_ITEMS, 3), (N_ITEMS,)]
    sampled_items = [
        torch.randn(shape, generator=generator(n), dtype=torch.float64)
        for n, shape in enumerate(shapes)
    ]
    return FactoredScores(
        (sampled_items[0], sampled_items[1]), (sampled_items[2], sampled_items[3]), sampled_items[4]
    )


def split(rows: SparseRows) -> tuple[SparseRows, SparseRows]:
    """Target and unmasked behaviors."""
    is_target = torch.rand(rows.items.shape, generator=generator(7)) < 0.5
    return rows.filter(is_target), rows.filter(~is_target)


def test_inner_products_agree_with_the_scores_they_stand_for(products):
    scores = (
        sum(q @ v.T for q, v in zip(products.queries, products.items, strict=True)) + products.bias
    )
    torch.testing.assert_close(products.scores(), scores)
    torch.testing.assert_close(products.block(7, 19).scores(), scores[:, 7:19])
    item_ids = torch.tensor([31, 2, 2, 8])
    torch.testing.assert_close(products.of_items(item_ids).scores(), scores[:, item_ids])
    rows = torch.tensor([4, 0, 29, 4])
    torch.testing.assert_close(products.at(rows, item_ids), scores[rows, item_ids])
    torch.testing.assert_close(products.shifted(0.5).scores(), scores + 0.5)
    squares = scores.square().sum(dim=1)
    torch.testing.assert_close(products.sum_of_squares().double(), squares, rtol=1e-5, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        single = FactoredScores(
            *(tuple(t.float() for t in ts) for ts in (products.queries, products.items)),
            products.bias.float(),
        )
        torch.testing.assert_close(single.sum_of_squares().double(), squares, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("target", ["all", "masked"])
def test_the_closed_form_is_the_squared_error_over_the_catalog(train, products, target, smoothing):
    rows = SparseRows.from_csr(train)
    targets, unmasked = split(rows)
    targets, ignored = (rows, None) if target == "all" else (targets, unmasked)
    vectors = [
        tensor.float().requires_grad_()
        for tensor in (*products.queries, *products.items, products.bias)
    ]
    single = FactoredScores(tuple(vectors[:2]), tuple(vectors[2:4]), vectors[4])
    expected = squared(single.scores(), targets, ignored, smoothing)
    actual = squared_by_gram(single, targets, ignored, smoothing)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    gradients = zip(
        torch.autograd.grad(actual.sum(), vectors),
        torch.autograd.grad(expected.sum(), vectors),
        strict=True,
    )
    for of_found, of_expected in gradients:
        torch.testing.assert_close(of_found, of_expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("n_sampled", [3, 8])
def test_candidates_hold_the_batch_and_name_their_probabilities(train, n_sampled):
    """How often an item is a candidate, over batches of 6 of the 30 rows, is its probability."""
    sampler, rng, source = (
        CandidateSampler(n_sampled, train.getnnz(axis=0), 30),
        np.random.default_rng(0),
        generator(),
    )
    times, stated, n_draws = np.zeros(N_ITEMS), np.zeros(N_ITEMS), 4000
    for _ in range(n_draws):
        batch = SparseRows.from_csr(train[rng.permutation(30)[:6]])
        candidates = sampler.sample(batch, source)
        items = candidates.items.numpy()
        assert (np.diff(items) > 0).all()
        assert len(items) == min(len(np.unique(batch.items)) + n_sampled, N_ITEMS)
        assert torch.equal(candidates.items[candidates.select(batch).items], batch.items)
        times[items] += 1
        stated[items] += candidates.log_inclusion.exp().numpy()
    # The stated probability is that of a negative: sampled, or in another row of the batch.
    stated = np.divide(stated, times, out=np.zeros(N_ITEMS), where=times > 0)
    assert (times / n_draws >= stated - 0.03).all()
    absent = train.getnnz(axis=0) == 0
    assert absent.any()
    np.testing.assert_allclose((times / n_draws)[absent], stated[absent], atol=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize("n_rows", [1, 6, 20])
def test_a_sum_over_the_others_is_estimated_from_the_candidates(train, n_rows, share):
    """Over batches with a row, the mean of ``1{candidate}/π`` of an item outside the row is 1."""
    sampler, rng, source = (
        CandidateSampler(6, train.getnnz(axis=0), 30),
        np.random.default_rng(1),
        generator(4),
    )
    total, n_draws, row = np.zeros(N_ITEMS), 4000, 3
    for _ in range(n_draws):
        others = rng.permutation(np.delete(np.arange(30), row))[: n_rows - 1]
        batch = SparseRows.from_csr(train[np.append(others, row)])
        targets = batch.filter(torch.rand(len(batch.items), generator=source) < share)
        candidates = sampler.sample(targets, source, share)
        total[candidates.items.numpy()] += np.exp(
            -candidates.log_inclusion.numpy().astype(np.float64)
        )
    outside = train[row].toarray().ravel() == 0
    assert outside[:20].any()  # popular ones among them
    np.testing.assert_allclose((total / n_draws)[outside], 1.0, atol=0.25)
    assert abs((total / n_draws)[outside].mean() - 1.0) < 0.06


def test_drawn_items_are_equally_likely_and_never_the_batchs_own():
    own, source = torch.tensor([1, 4, 5, 11]), generator(2)
    for n_items, n in ((20, 2), (20, 9), (200, 3)):
        times = torch.zeros(n_items)
        for _ in range(3000):
            sampled_items = _sample_others(own, n_items, n, source)
            assert len(sampled_items.unique()) == n
            times[sampled_items] += 1
        assert times[own].sum() == 0
        others = np.delete(times.numpy(), own.numpy())
        expected = 3000 * n / (n_items - 4)
        assert abs(others - expected).max() < 6 * np.sqrt(expected)


def test_many_candidates_come_in_round_numbers():
    batch = SparseRows.from_csr(csr_matrix(np.eye(1, 9000, dtype=np.float32)))
    sampler = CandidateSampler(2000, np.ones(9000), 30)
    assert len(sampler.sample(batch, generator()).items) == 2048
    assert len(CandidateSampler(8999, np.ones(9000), 30).sample(batch, generator()).items) == 9000


@pytest.mark.slow
@pytest.mark.parametrize("target", ["all", "masked"])
@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_the_sampled_loss_is_that_of_the_catalog_in_the_mean(train, products, target, smoothing):
    """Loss and gradient over many samples. Scores are small: the log of an estimate is biased."""
    scores = (0.1 * products.scores()).float().requires_grad_()
    rows = SparseRows.from_csr(train)
    targets, unmasked = split(rows)
    targets, ignored = (rows, None) if target == "all" else (targets, unmasked)
    expected = multinomial(scores, targets, ignored, smoothing).mean()
    (expected_gradient,) = torch.autograd.grad(expected, scores)
    n_counted = N_ITEMS if ignored is None else N_ITEMS - ignored.counts
    # An item is a target of some row, or it is sampled and divided by its probability.
    chance, source, n_draws = 1 - (1 - 1 / N_ITEMS) ** 25, generator(1), 1500
    loss, gradient = torch.zeros(()), torch.zeros_like(scores)
    for _ in range(n_draws):
        sampled_items = torch.unique(torch.randint(N_ITEMS, (25,), generator=source))
        items = torch.unique(torch.cat([sampled_items, targets.items]))
        # Infinite where the item is there for another row's sake alone: it then stands for nothing.
        candidates = Candidates(
            items, torch.where(torch.isin(items, sampled_items), np.log(chance), torch.inf).float()
        )
        candidate_targets, candidate_ignored = (
            None if part is None else candidates.select(part) for part in (targets, ignored)
        )
        columns = scores[:, items]
        actual = multinomial(
            columns,
            candidate_targets,
            candidate_ignored,
            smoothing,
            candidates.log_inclusion,
            n_counted,
        ).mean()
        loss += actual.detach() / n_draws
        gradient += torch.autograd.grad(actual, scores)[0] / n_draws
    torch.testing.assert_close(loss, expected.detach(), rtol=0.01, atol=0.0)
    assert (gradient - expected_gradient).abs().mean() < 0.04 * expected_gradient.abs().mean()


def test_with_all_items_as_candidates_nothing_is_estimated(train, products):
    rows = SparseRows.from_csr(train)
    targets, unmasked = split(rows)
    scores = products.scores().float().requires_grad_()
    expected = multinomial(scores, targets, unmasked, 0.02)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), scores)
    actual = multinomial(
        scores, targets, unmasked, 0.02, torch.zeros(N_ITEMS), N_ITEMS - unmasked.counts
    )
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(torch.autograd.grad(actual.sum(), scores)[0], expected_gradient)


CASES = [(target, source) for target in ("all", "masked") for source in ("corrupted", "clean")]


@pytest.mark.parametrize(("target", "source"), CASES)
@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_with_all_items_as_candidates_the_model_trains_as_on_the_catalog(
    world, target, source, exponent
):
    """Loss and gradients, with every item but one as a candidate or a target."""
    settings = {
        "training__target": target,
        "training__row_weight_exponent": exponent,
        "model__guidance_source": source,
        "model__dropout": 0.0,
    }
    n_items, actual = world.train.shape[1], []
    for sampled in (0, n_items - 1):
        model = world.model(world.config(**settings, training__sampled_items=sampled))
        model.batches(world.train, 8)
        loss = model.loss(SparseRows.from_csr(world.train[:20]), generator())
        loss.backward()
        gradients = {
            name: p.grad.to_dense() if p.grad.is_sparse else p.grad
            for name, p in model.named_parameters()
            if p.grad is not None
        }
        actual.append((loss.detach(), gradients))
    torch.testing.assert_close(actual[1][0], actual[0][0])
    assert actual[0][1].keys() == actual[1][1].keys()
    for name, expected in actual[0][1].items():
        torch.testing.assert_close(actual[1][1][name], expected, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["all", "masked"])
def test_on_some_candidates_the_model_has_the_loss_of_the_catalog_in_the_mean(world, target):
    """Loss of one row, over random batches, masks (the same for both) and candidates."""
    settings = {
        "model__dropout": 0.0,
        "training__target": target,
        "diffusion__smoothing_intensity": 0.3,
    }
    whole = world.model(world.config(**settings, training__sampled_items=0))
    some = world.model(world.config(**settings, training__sampled_items=12))
    some.batches(world.train, 8)
    n_rows, row = world.train.shape[0], 1
    rng, off, size = np.random.default_rng(0), [], 8
    with torch.no_grad():
        for seed in range(400):
            others = rng.choice(np.delete(np.arange(n_rows), row), size - 1, replace=False)
            batch, t = (
                SparseRows.from_csr(world.train[np.append(others, row)]),
                torch.zeros(size, dtype=torch.int64),
            )
            losses, counts = zip(
                *(
                    model._row_losses(batch, t, generator(seed), slice(size - 1, size))
                    for model in (some, whole)
                ),
                strict=True,
            )
            if counts[0][-1] > 0:
                off.append(float(losses[0] / losses[1]) - 1.0)
    error = np.std(off) / np.sqrt(len(off))
    assert abs(np.mean(off)) < max(4 * error, 0.004), (np.mean(off), error)
    assert error < 0.004


@pytest.mark.slow
def test_noise_over_candidates_stands_for_that_over_the_catalog(train):
    """Linear maps of both have the same covariance, over random batches and candidates."""
    process = ForwardProcess(LinearSchedule(1, 1.0, 0.5, 0.5), 0.5)
    sampler, rng, source = (
        CandidateSampler(4, train.getnnz(axis=0), 30),
        np.random.default_rng(1),
        generator(4),
    )
    row, n_draws = 3, 8000
    own = torch.from_numpy(train[row].indices.astype(np.int64))
    matrix = torch.randn(N_ITEMS, 2, generator=generator(9))
    matrix[own, 0] *= 3.0
    matrix[own, 1] = (
        0.0  # one column is of the row's own items for the most part, one of the others
    )
    mapped = torch.zeros(n_draws, 2)
    for n in range(n_draws):
        others = rng.permutation(np.delete(np.arange(30), row))[:1]
        batch = SparseRows.from_csr(train[np.append(others, row)])
        candidates = sampler.sample(batch, source)
        clean = candidates.select(batch)
        unmasked = clean.filter(torch.rand(clean.items.shape, generator=source) < 0.5)
        t = torch.ones(2, dtype=torch.int64)
        noisy = process.add_noise_over_candidates(
            unmasked, clean, t, source, candidates.log_inclusion
        )
        assert noisy.noise is not None
        mapped[n] = noisy.noise[-1] @ matrix[candidates.items]
    expected = 0.5 * matrix.T @ matrix
    torch.testing.assert_close(
        mapped.square().mean(dim=0), expected.diagonal(), rtol=0.12, atol=0.0
    )


def test_the_gradient_of_the_embeddings_names_the_candidates_alone(world):
    model = world.model(world.config(training__sampled_items=4))
    model.batches(world.train, 8)
    batch = SparseRows.from_csr(world.train[:2])
    model.loss(batch, generator()).backward()
    reached = [set(parameter.grad._indices()[0].tolist()) for parameter in model.sparse_parameters]
    own = set(batch.items.tolist())
    assert reached[0] < own  # the encoder: what masking left
    assert own - reached[0] < reached[1]  # the decoder: what it masked, and what was drawn
    assert all(len(rows) < model.n_items for rows in reached)


def test_a_large_catalog_is_sampled_by_itself(world, monkeypatch):
    monkeypatch.setattr(losses_module, "LARGE_CATALOG", 30)
    monkeypatch.setattr(losses_module, "LARGE_SAMPLED_ITEMS", 9)
    assert world.model(world.config()).objective.n_sampled == 9
    assert world.model(world.config(training__sampled_items=0)).objective.n_sampled == 0
    assert world.model(world.config(preset="paper")).objective.n_sampled == 0


@pytest.mark.parametrize(("ease", "uses_gram"), [(True, False), (False, True)])
def test_mse_over_a_large_catalog_computes_all_scores_only_with_ease(
    world, monkeypatch, ease, uses_gram
):
    monkeypatch.setattr(losses_module, "LARGE_CATALOG", 30)
    calls = []

    def record(*arguments):
        calls.append(arguments)
        return squared_by_gram(*arguments)

    monkeypatch.setattr(losses_module, "squared_by_gram", record)
    model: LD4MRec = world.model(
        world.config(training__loss="mse", training__target="all", model__ease=ease)
    )
    assert isinstance(model.objective, SquaredError)
    assert model.objective.n_sampled == 0
    model.loss(SparseRows.from_csr(world.train), generator())
    assert len(calls) == uses_gram


def test_mse_gives_the_same_training_in_closed_form(world, monkeypatch):
    config = world.config(training__loss="mse", model__ease=False, training__max_epochs=3)
    expected = world.trained(config)[0].score(world.train)
    monkeypatch.setattr(losses_module, "LARGE_CATALOG", 30)
    torch.testing.assert_close(
        world.trained(config)[0].score(world.train), expected, rtol=1e-3, atol=1e-4
    )


def test_training_on_samples_finds_planted_structure(world):
    config = world.config(training__sampled_items=6, training__max_epochs=15, model__ease=False)
    untrained = world.validate(world.model(config))
    trainer = world.trainer(config)
    trainer.run(lambda report: None)
    best = max(report.valid["ndcg@20"] for report in trainer.progress.history)
    assert best > untrained["ndcg@20"] + 0.05
