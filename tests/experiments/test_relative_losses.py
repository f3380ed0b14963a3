"""Relative losses of noisy runs, and the area under them."""

from __future__ import annotations

import numpy as np
import pytest

from ld4mrec_cli.experiments.study.losses import Loss, area, relative_loss


def test_the_linear_part_of_a_relative_loss_has_its_mean_and_its_variance():
    rng = np.random.default_rng(0)
    estimates, errors = [], []
    for _ in range(300):
        clean = rng.beta(0.5, 2.0, 400)
        noisy = clean * rng.beta(8.0, 2.0, 400)
        loss = relative_loss({0: clean}, {0: noisy}, clean_uses_seed=True)
        assert loss.mean == pytest.approx(1.0 - noisy.mean() / clean.mean())
        estimates.append(loss.mean)
        errors.append(loss.sample.values.std(ddof=1) / 20.0)
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.15)


def test_a_noisy_run_is_compared_with_the_clean_one_of_its_seed():
    clean = {0: np.full(4, 0.5), 1: np.full(4, 0.25), 3: np.ones(4)}
    noisy = {1: np.full(4, 0.2), 0: np.full(4, 0.25), 2: np.full(4, 0.1)}
    loss = relative_loss(clean, noisy, clean_uses_seed=True)
    assert {seed: part.mean() for seed, part in loss.by_seed.items()} == pytest.approx(
        {0: 0.5, 1: 0.2}
    )
    only = {0: clean[0]}  # the clean run of seed 1 failed: its noisy run has nothing to lose
    assert list(relative_loss(only, noisy, clean_uses_seed=True).by_seed) == [0]
    assert list(relative_loss(only, noisy, clean_uses_seed=False).by_seed) == [1, 0, 2]
    assert relative_loss(only, {2: noisy[2]}, clean_uses_seed=True) is None


def test_the_area_is_the_mean_loss_up_to_the_highest_level():
    def loss(value, seeds=(0, 1)):
        return Loss({seed: np.full(5, value) for seed in seeds})

    linear = {0.1: loss(0.1), 0.4: loss(0.4)}
    assert area(linear).sample.values == pytest.approx(np.full((2, 5), 0.2))
    assert area({0.3: loss(0.4)}).mean == pytest.approx(0.2)
    assert list(area({0.1: loss(0.1, (2, 0)), 0.4: loss(0.4)}).by_seed) == [0]
    assert area({0.1: loss(0.1, (2,)), 0.4: loss(0.4)}) is None
