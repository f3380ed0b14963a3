from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from ld4mrec_cli.models.ld4mrec import losses as losses_module
from ld4mrec_cli.models.ld4mrec.diffusion import Corrupted, SoftReconstruction
from ld4mrec_cli.models.ld4mrec.losses import LOSSES, Multinomial, SquaredError, Targets
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.settings.training import TrainingConfig

NOT_SOFT = SoftReconstruction(0.0, 0.0)


def draws(n: int, seed: int) -> BatchRNG:
    return BatchRNG(torch.Generator().manual_seed(seed), n)


def factored(scores: torch.Tensor) -> FactoredScores:
    """Factors whose product is ``scores`` itself."""
    n_items = scores.shape[1]
    return FactoredScores((scores,), (torch.eye(n_items),), torch.zeros(n_items))


def rows_of(dense: list[list[float]]) -> SparseRows:
    return SparseRows.from_csr(csr_matrix(np.array(dense, dtype=np.float32)))


@pytest.fixture
def clean() -> SparseRows:
    return rows_of([[1, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])


@pytest.fixture
def corrupted(clean) -> Corrupted:
    """Items 1 and 3 of row 0 are masked, nothing of row 1; row 2 is empty."""
    is_masked = torch.tensor([False, True, True, False])
    unmasked = clean.filter(~is_masked)
    return Corrupted(rows=unmasked, unmasked=unmasked, masked=clean.filter(is_masked))


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()


def loss_of(scores, clean, corrupted, kind, target, soft=NOT_SOFT, source=None):
    """Losses, and which rows have targets."""
    targets = Targets(*corrupted.targets(clean, target))
    rng = source or draws(len(clean), 1)
    losses = LOSSES[kind](soft)(factored(scores), None, targets, rng)
    return losses, targets.behaviors.counts > 0


def test_every_loss_of_the_settings_has_a_class():
    choices = get_args(TrainingConfig.model_fields["loss"].annotation)
    assert set(LOSSES) == set(choices)


@pytest.mark.parametrize(
    ("n_items", "expected"),
    [(5_000, 0), (5_001, 1_024), (20_000, 1_024), (20_001, 8_192)],
)
def test_larger_catalogs_are_sampled_by_default(n_items, expected):
    assert Multinomial.from_config(TrainingConfig(), NOT_SOFT, n_items).n_sampled == expected


@pytest.mark.parametrize("sampled", [None, 0, 40, 100])
def test_the_multinomial_loss_samples_fewer_items_than_the_catalog(monkeypatch, sampled):
    monkeypatch.setattr(losses_module, "LARGE_SAMPLED_ITEMS", 30)
    monkeypatch.setattr(losses_module, "LARGE_CATALOG", 50)
    config = TrainingConfig(sampled_items=sampled)
    expected = {None: 30, 0: 0, 40: 40, 100: 0}[sampled]
    assert Multinomial.from_config(config, NOT_SOFT, 100).n_sampled == expected
    soft = SoftReconstruction(0.5, 0.1, random_subset=True)
    assert Multinomial.from_config(config, soft, 100).n_sampled == 0
    assert not SquaredError.from_config(config, NOT_SOFT, 50).use_gram
    assert SquaredError.from_config(config, NOT_SOFT, 51).use_gram


def test_ease_scores_are_added_before_the_squared_error(scores, clean, corrupted):
    ease = torch.randn(3, 5, generator=torch.Generator().manual_seed(5))
    targets = Targets(*corrupted.targets(clean, "masked"))
    for use_gram in (False, True):
        losses = SquaredError(NOT_SOFT, use_gram)(factored(scores), ease, targets, draws(3, 1))
        expected, _ = loss_of(scores + ease, clean, corrupted, "mse", "masked")
        torch.testing.assert_close(losses, expected)


def test_clean_rows_are_reconstructed_from_the_scores(scores):
    lengths = torch.tensor([[3], [1], [0]])
    assert SquaredError(NOT_SOFT).reconstruct(scores, lengths) is scores
    x_0 = Multinomial(NOT_SOFT).reconstruct(scores, lengths)
    torch.testing.assert_close(x_0.sum(dim=1), torch.tensor([3.0, 1.0, 0.0]))
    torch.testing.assert_close(x_0[1], scores[1].softmax(dim=0))


def test_multinomial_of_all_behaviors_is_cross_entropy_with_soft_labels(scores, clean, corrupted):
    soft = SoftReconstruction(1.0, 0.1)
    losses, counts = loss_of(scores, clean, corrupted, "multinomial", "all", soft)
    x = clean.dense()
    labels = x + 0.1 * (1 - 2 * x)
    expected = F.cross_entropy(scores, labels / labels.sum(dim=1, keepdim=True), reduction="none")
    torch.testing.assert_close(losses, expected)
    assert counts.tolist() == [True, True, False]


def test_mse_of_all_behaviors_is_the_mean_square(scores, clean, corrupted):
    losses, counts = loss_of(scores, clean, corrupted, "mse", "all")
    torch.testing.assert_close(
        losses, F.mse_loss(scores, clean.dense(), reduction="none").mean(dim=1)
    )
    assert counts.tolist() == [True, True, False]


def test_mse_known_answers(clean, corrupted):
    zeros = torch.zeros(3, 5)
    assert loss_of(zeros, clean, corrupted, "mse", "all")[0].tolist() == pytest.approx(
        [3 / 5, 1 / 5, 0.0]
    )
    # Row 0: items 1 and 3 of the four other entries; row 1: its one behavior is unmasked.
    assert loss_of(zeros, clean, corrupted, "mse", "masked")[0].tolist() == pytest.approx(
        [2 / 4, 0.0, 0.0]
    )


def test_multinomial_known_answer_of_equal_scores(clean, corrupted):
    losses, _ = loss_of(torch.zeros(3, 5), clean, corrupted, "multinomial", "masked")
    assert losses[0].item() == pytest.approx(np.log(4))


@pytest.mark.parametrize("kind", LOSSES)
def test_visible_behaviors_have_no_gradient_when_only_destroyed_ones_count(
    scores, clean, corrupted, kind
):
    losses, counts = loss_of(scores, clean, corrupted, kind, "masked", SoftReconstruction(1.0, 0.1))
    losses[counts].sum().backward()
    unmasked = corrupted.unmasked.dense() > 0
    assert (scores.grad[unmasked] == 0).all()
    assert (scores.grad[0][~unmasked[0]] != 0).all()
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("kind", LOSSES)
def test_visible_scores_do_not_matter_when_only_destroyed_ones_count(
    scores, clean, corrupted, kind
):
    before, _ = loss_of(scores, clean, corrupted, kind, "masked")
    changed = scores.detach() + 7.0 * corrupted.unmasked.dense()
    after, _ = loss_of(changed, clean, corrupted, kind, "masked")
    torch.testing.assert_close(after, before.detach())


@pytest.mark.parametrize("kind", LOSSES)
def test_rows_without_targets_do_not_count(scores, clean, corrupted, kind):
    losses, counts = loss_of(scores, clean, corrupted, kind, "masked")
    assert counts.tolist() == [True, False, False]
    assert torch.isfinite(losses).all()


def test_noise_in_the_input_is_no_label(scores, clean, corrupted):
    noisy = replace(corrupted, rows=replace(corrupted.rows, noise=torch.ones(3, 5)))
    for target in ("all", "masked"):
        expected, _ = loss_of(scores, clean, corrupted, "multinomial", target)
        assert torch.equal(loss_of(scores, clean, noisy, "multinomial", target)[0], expected)


def test_a_row_that_sees_every_item_costs_nothing_and_is_finite():
    clean = SparseRows.from_csr(
        csr_matrix(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=np.float32))
    )
    is_unmasked = torch.tensor([True, True, True, True, False])
    corrupted = Corrupted(
        clean.filter(is_unmasked), clean.filter(is_unmasked), clean.filter(~is_unmasked)
    )
    scores = torch.zeros(2, 3, requires_grad=True)
    soft = SoftReconstruction(0.0, 0.0)
    losses, counts = loss_of(scores, clean, corrupted, "multinomial", "masked", soft)
    (losses * counts).sum().backward()
    assert torch.isfinite(losses).all()
    assert torch.equal(scores.grad[0], torch.zeros(3))


CASES = [(kind, target) for kind in LOSSES for target in ("all", "masked")]


@pytest.mark.parametrize(("kind", "target"), CASES)
@pytest.mark.parametrize("intensity", [0.0, 0.2])
def test_labels_in_expectation_are_those_drawn_where_every_entry_is_drawn(
    scores, clean, corrupted, kind, target, intensity
):
    """With p = 1 there is one subset: the sparse loss and its gradient must be the dense ones."""
    dense, counts = loss_of(
        scores,
        clean,
        corrupted,
        kind,
        target,
        SoftReconstruction(1.0, intensity, random_subset=True),
    )
    (expected_gradient,) = torch.autograd.grad(dense[counts].sum(), scores)
    actual, found_counts = loss_of(
        scores, clean, corrupted, kind, target, SoftReconstruction(1.0, intensity)
    )
    (gradient,) = torch.autograd.grad(actual[found_counts].sum(), scores)
    assert torch.equal(counts, found_counts)
    torch.testing.assert_close(actual[counts], dense[counts])
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["all", "masked"])
def test_the_gradient_in_expectation_is_the_mean_of_those_of_drawn_labels(
    scores, clean, corrupted, target
):
    """Exactly so for the squared error, which is linear in the labels but for a constant."""
    source, total = draws(3, 0), torch.zeros_like(scores)
    soft = SoftReconstruction(0.3, 0.4, random_subset=True)
    for _ in range(3000):
        losses, counts = loss_of(scores, clean, corrupted, "mse", target, soft, source)
        total += torch.autograd.grad(losses[counts].sum(), scores)[0] / 3000
    losses, counts = loss_of(scores, clean, corrupted, "mse", target, SoftReconstruction(0.3, 0.4))
    (expected,) = torch.autograd.grad(losses[counts].sum(), scores)
    torch.testing.assert_close(total, expected, atol=0.005, rtol=0.02)
