from __future__ import annotations

import pytest
import torch

from ld4mrec_cli.models.ops.rng import BatchRNG


def draws(n_rows: int, first: int = 0, seed: int = 0) -> BatchRNG:
    return BatchRNG(torch.Generator().manual_seed(seed), n_rows, first)


@pytest.mark.parametrize("probability", [0.0, 1e-6, 0.001, 0.1, 0.5, 0.9, 1 - 1e-6, 1.0])
def test_events_happen_as_often_as_they_should_and_independently(probability):
    actual = draws(400).bernoulli(probability, 400, 601).double()
    spread = (probability * (1 - probability) / actual.numel()) ** 0.5
    assert abs(actual.mean() - probability) <= 5 * spread + 2**-16
    if 0.05 < probability < 0.95:
        for shift in (1, 2, 3, 4, 601):
            one, other = (
                actual.flatten()[:-shift] - probability,
                actual.flatten()[shift:] - probability,
            )
            assert abs((one * other).mean() / actual.var()) < 0.02


def test_a_part_of_a_batch_has_the_draws_of_its_rows():
    whole = draws(10).bernoulli(0.3, 10, 7)
    assert torch.equal(draws(10, first=4).bernoulli(0.3, 3, 7), whole[4:7])
    assert not torch.equal(draws(10, seed=1).bernoulli(0.3, 10, 7), whole)
