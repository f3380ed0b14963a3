from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ld4mrec.diffusion import (
    ForwardProcess,
    SoftReconstruction,
)
from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.schedule import LinearSchedule
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.models.ops.step_sampler import HISTORY, StepSampler


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def rows() -> SparseRows:
    """400 rows over 50 items, about half of the entries set."""
    dense = np.random.default_rng(0).random((400, 50)) < 0.5
    return SparseRows.from_csr(csr_matrix(dense.astype(np.float32)))


def noisy_process(mask_rate: float = 0.0) -> ForwardProcess:
    return ForwardProcess(LinearSchedule(4, 1.0, 0.1, 0.7), mask_rate)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.8])
def test_masking_drops_the_given_share(rows, generator, rate):
    actual = ForwardProcess(LinearSchedule(4, 0.0, 0.1, 0.7), rate)(
        rows, torch.zeros(400, dtype=torch.int64), generator
    )
    n = len(rows.items)
    share = len(actual.masked.items) / n
    assert abs(share - rate) <= 5 * np.sqrt(rate * (1 - rate) / n)


def test_visible_and_destroyed_behaviors_make_up_the_clean_row(rows, generator):
    actual = noisy_process(0.5)(rows, torch.full((400,), 2), generator)
    assert torch.equal(actual.unmasked.dense() + actual.masked.dense(), rows.dense())
    assert (actual.unmasked.dense() * actual.masked.dense() == 0).all()


def test_step_zero_adds_no_gaussian_noise(rows, generator):
    actual = noisy_process(0.5)(rows, torch.zeros(400, dtype=torch.int64), generator)
    assert torch.equal(actual.rows.dense(), actual.unmasked.dense())


@pytest.mark.parametrize("t", [1, 2, 3, 4])
def test_gaussian_step_has_the_mean_and_variance_of_its_t(rows, generator, t):
    process = noisy_process()
    noisy = process(rows, torch.full((400,), t), generator).rows.dense()
    masked = 0.1 + (t - 1) / 3 * 0.6
    noise = noisy - np.sqrt(1 - masked) * rows.dense()
    assert abs(noise.mean().item()) < 5 * np.sqrt(masked / noise.numel())
    assert noise.var().item() == pytest.approx(masked, rel=5 * np.sqrt(2 / noise.numel()))


def test_each_row_gets_the_noise_of_its_own_step(rows, generator):
    t = torch.arange(400) % 5
    noise = noisy_process()(rows, t, generator).rows.noise
    spread = torch.stack([noise[t == step].std() for step in range(5)])
    assert spread[0] == 0
    assert (spread.diff() > 0).all()


def test_a_process_without_noise_keeps_rows_sparse(rows, generator):
    process = ForwardProcess(LinearSchedule(4, 0.0, 0.1, 0.7), 0.5)
    assert process(rows, torch.zeros(400, dtype=torch.int64), generator).rows.noise is None


def test_soft_labels_are_x_plus_gamma_one_minus_two_x_on_the_subset(generator):
    x = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).repeat(2000, 1)
    actual = SoftReconstruction(0.5, 0.1, random_subset=True).labels(x, BatchRNG(generator, 2000))
    assert actual[:, 0].unique().tolist() == pytest.approx([0.9, 1.0])
    assert actual[:, 1].unique().tolist() == pytest.approx([0.0, 0.1])


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_soft_subset_has_the_given_share(generator, probability):
    actual = SoftReconstruction(probability, 0.1, random_subset=True).labels(
        torch.zeros(500, 40), BatchRNG(generator, 500)
    )
    share = (actual > 0).double().mean().item()
    assert abs(share - probability) <= 5 * np.sqrt(probability * (1 - probability) / actual.numel())


@pytest.mark.parametrize(("probability", "intensity"), [(0.0, 0.1), (0.5, 0.0)])
def test_nothing_is_drawn_where_nothing_would_be_smoothed(probability, intensity):
    assert not SoftReconstruction(probability, intensity, random_subset=True).is_drawn
    assert SoftReconstruction(0.5, 0.1, random_subset=True).is_drawn
    assert not SoftReconstruction(0.5, 0.1).is_drawn


def fill(sampler: StepSampler, losses: list[float], times: int) -> None:
    for _ in range(times):
        for t, loss in enumerate(losses):
            sampler.update(torch.tensor([t]), torch.tensor([loss]))


def test_steps_are_drawn_uniformly_until_each_has_a_full_history():
    sampler = StepSampler(3, importance=True)
    fill(sampler, [1.0, 2.0], HISTORY)  # step 2 has none
    fill(sampler, [1.0, 2.0, 5.0], HISTORY - 1)
    torch.testing.assert_close(
        sampler.probabilities(), torch.full((3,), 1 / 3, dtype=torch.float64)
    )
    fill(sampler, [1.0, 2.0, 5.0], 1)
    assert sampler.probabilities()[2] > 0.5


def test_probabilities_are_the_root_mean_squares_over_a_small_uniform_floor():
    sampler = StepSampler(3, importance=True)
    losses = np.random.default_rng(0).random((HISTORY + 4, 3)) * [1.0, 3.0, 9.0]
    for row in losses:
        sampler.update(torch.arange(3), torch.from_numpy(row))
    root = np.sqrt((losses[-HISTORY:] ** 2).mean(axis=0))
    expected = 0.99 * root / root.sum() + 0.01 / 3
    np.testing.assert_allclose(sampler.probabilities().numpy(), expected, rtol=1e-6)


def test_a_batch_adds_the_mean_loss_of_each_step_in_it():
    sampler = StepSampler(2, importance=True)
    sampler.update(torch.tensor([0, 0, 0]), torch.tensor([1.0, 2.0, 6.0]))
    assert sampler.losses[0, -1] == 3.0
    assert sampler.filled.tolist() == [1, 0]


def test_the_weighted_loss_is_an_unbiased_estimate_of_the_uniform_mean(generator):
    losses = torch.tensor([1.0, 4.0, 10.0])
    sampler = StepSampler(3, importance=True)
    fill(sampler, losses.tolist(), HISTORY)
    t, weight = sampler.sample(200_000, generator)
    share = torch.bincount(t, minlength=3) / len(t)
    torch.testing.assert_close(share.double(), sampler.probabilities(), atol=0.01, rtol=0)
    assert (losses[t] * weight).mean().item() == pytest.approx(losses.mean().item(), rel=0.01)
    expected = (sampler.probabilities() * losses / (3 * sampler.probabilities())).sum()
    assert expected.item() == pytest.approx(losses.mean().item())


def test_without_importance_sampling_losses_are_not_remembered():
    sampler = StepSampler(3, importance=False)
    fill(sampler, [1.0, 2.0, 9.0], HISTORY)
    torch.testing.assert_close(
        sampler.probabilities(), torch.full((3,), 1 / 3, dtype=torch.float64)
    )


def test_losses_of_zero_leave_the_draw_uniform():
    sampler = StepSampler(2, importance=True)
    fill(sampler, [0.0, 0.0], HISTORY)
    assert sampler.probabilities().tolist() == [0.5, 0.5]
