"""The training objective by hand: importance weights, and which rows the sampler learns from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from ld4mrec_cli.models.ld4mrec.losses import Targets
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ld4mrec.row_weights import RowWeights, mean_row_weight
from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.models.ops.step_sampler import HISTORY

STEPS = 4


@pytest.fixture
def model(world) -> LD4MRec:
    """A noisy model whose sampler has seen very different losses at the different t."""
    changed = {
        "diffusion.noise_scale": 20.0,
        "diffusion.steps": STEPS,
        "diffusion.inference_steps": 1,
    }
    model = world.model(world.config_of(changed))
    scale = torch.tensor([1.0, 8.0, 0.5, 30.0, 3.0], dtype=torch.float64)
    model.sampler.losses.copy_(
        scale.unsqueeze(1) * torch.linspace(0.5, 1.5, HISTORY, dtype=torch.float64)
    )
    model.sampler.filled.fill_(HISTORY)
    return model


@pytest.fixture
def clean(world) -> SparseRows:
    """Training rows, and rows without any behavior between them, which cannot count."""
    n_items = world.train.shape[1]
    return SparseRows.from_csr(
        vstack([world.train[:20], csr_matrix((15, n_items)), world.train[20:]]).tocsr()
    )


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def probabilities(losses: Tensor) -> Tensor:
    """``p_t ∝ √E[L_t²]``, mixed with one hundredth of the uniform distribution."""
    root = losses.square().mean(dim=1).sqrt()
    return 0.99 * root / root.sum() + 0.01 / len(root)


def by_hand(model: LD4MRec, clean: SparseRows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Step, weight, loss and number of targets of each row; random numbers in the model's order."""
    source, p = generator(), probabilities(model.sampler.losses)
    t = torch.multinomial(p, len(clean), replacement=True, generator=source)
    corrupted, rng = model.forward_process(clean, t, source), BatchRNG(source, len(clean))
    guidance_rows = clean if model.uses_clean_guidance else None
    scores = model.cnet(corrupted.rows, t, guidance_rows, rng)
    targets = Targets(*corrupted.targets(clean, model.target))
    losses = model.objective(scores, model.cnet.ease_scores(corrupted.rows), targets, rng)
    return t, 1.0 / (len(p) * p[t]), losses.detach(), targets.behaviors.counts


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_loss_is_the_weighted_mean_over_the_rows_that_count(model, clean, world, exponent):
    """Rows have the weight ``1 / (T p_t) · n^a / mean of n^a over rows that count``."""
    model.row_weights = RowWeights(exponent)
    model.batches(world.train, 8)
    t, weight, losses, n_targets = by_hand(model, clean)
    counts = n_targets > 0
    typical = mean_row_weight(
        np.diff(world.train.indptr), model.forward_process.mask_rate, exponent
    )
    weight = weight * n_targets**exponent / typical
    assert len(t.unique()) > 2
    assert 0 < counts.sum() < len(clean) - 10
    expected = sum(
        float(w * loss) for w, loss, count in zip(weight, losses, counts, strict=True) if count
    )
    actual = model.loss(clean, generator()).item()
    assert actual == pytest.approx(expected / int(counts.sum()), rel=1e-5)
    assert actual != pytest.approx(
        losses[counts].mean().item(), rel=0.05
    )  # what it is without weights


@pytest.mark.parametrize(("share", "exponent"), [(0.5, 0.5), (0.2, 1.0), (1.0, 0.75)])
def test_the_rows_that_count_weigh_one_in_the_mean(share, exponent):
    """Over many maskings, with rows of one and of many behaviors."""
    rng, length = np.random.default_rng(0), np.array([1] * 20 + [2] * 10 + [40] * 2)
    n = rng.binomial(length, share, size=(4000, len(length)))
    weights = n[n > 0] ** exponent / mean_row_weight(length, share, exponent)
    assert weights.mean() == pytest.approx(1.0, rel=0.01)


def test_rows_weigh_the_same_in_the_squared_error(world):
    """The weight n^a is for the multinomial loss only."""
    losses = []
    for exponent in (0.0, 1.0):
        mse = {
            "training.loss": "mse",
            "training.target": "all",
            "training.row_weight_exponent": exponent,
        }
        model = world.model(world.config_of(mse))
        model.batches(world.train, 8)
        losses.append(model.loss(SparseRows.from_csr(world.train), generator()).item())
    assert losses[0] == losses[1]


def test_the_weights_leave_the_expected_loss_as_it_is(model):
    p = model.sampler.probabilities()
    torch.testing.assert_close(p, probabilities(model.sampler.losses))
    t, weight = model.sampler.sample(20_000, generator())
    of_step = torch.arange(1.0, STEPS + 2)
    assert (weight * of_step[t]).mean().item() == pytest.approx(of_step.mean().item(), rel=0.05)


def test_the_sampler_learns_only_from_rows_that_count(model, clean):
    before = model.sampler.losses.clone()
    t, _, losses, n_targets = by_hand(model, clean)
    counts = n_targets > 0
    model.loss(clean, generator())
    differs = False
    for step in range(STEPS + 1):
        counted = counts & (t == step)
        if not counted.any():
            assert torch.equal(model.sampler.losses[step], before[step])
            continue
        assert model.sampler.losses[step, -1].item() == pytest.approx(
            losses[counted].mean().item(), rel=1e-5
        )
        differs |= losses[counted].mean().item() != pytest.approx(
            losses[t == step].mean().item(), rel=1e-3
        )
    assert differs  # rows that do not count would have been seen
