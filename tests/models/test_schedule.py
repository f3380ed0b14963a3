from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ld4mrec_cli.models.ops.schedule import LinearSchedule

schedules = st.builds(
    lambda steps, scale, low, width: (steps, scale, low, low + width),
    st.integers(1, 50),
    st.floats(0.1, 2.0),
    st.floats(1e-3, 0.1),
    st.floats(0.0, 0.3),
)


@given(schedules)
def test_alpha_bar_follows_the_linear_formula(parts):
    steps, scale, low, high = parts
    schedule = LinearSchedule(*parts)
    expected = [0.0] + [
        scale * (low + (t - 1) / (steps - 1) * (high - low)) if steps > 1 else scale * low
        for t in range(1, steps + 1)
    ]
    assert_allclose(1.0 - schedule.alpha_bar.numpy(), expected, atol=1e-6)


@given(schedules)
def test_alpha_bar_starts_at_one_and_never_rises(parts):
    alpha_bar = LinearSchedule(*parts).alpha_bar
    assert alpha_bar[0] == 1.0
    assert (alpha_bar.diff() <= 0).all()
    assert (alpha_bar > 0).all()


@given(schedules)
def test_alpha_bar_is_the_product_of_the_alphas(parts):
    schedule = LinearSchedule(*parts)
    assert_allclose(schedule.alpha.double().cumprod(0), schedule.alpha_bar.double(), rtol=1e-5)


@given(parts=schedules, x_t=st.floats(-3, 3), x_0=st.floats(-3, 3), data=st.data())
def test_posterior_mean_is_bayes_rule(parts, x_t, x_0, data):
    """``q(x_{t-1}|x_t,x_0) ∝ q(x_t|x_{t-1}) q(x_{t-1}|x_0)``: a precision-weighted mean."""
    schedule = LinearSchedule(*parts)
    t = data.draw(st.integers(1, schedule.steps))
    before, now = (float(schedule.alpha_bar.double()[i]) for i in (t - 1, t))
    alpha = now / before
    if 1.0 - alpha < 1e-4:  # float32 constants do not resolve such a step
        return
    if t == 1:
        expected = x_0  # x_0 itself: no noise is left at step 0
    else:
        prior_mean, prior_precision = np.sqrt(before) * x_0, 1.0 / (1.0 - before)
        seen_mean, seen_precision = x_t / np.sqrt(alpha), alpha / (1.0 - alpha)
        expected = (prior_mean * prior_precision + seen_mean * seen_precision) / (
            prior_precision + seen_precision
        )
    actual = schedule.posterior_mean(torch.tensor([[x_t]]), torch.tensor([[x_0]]), t)
    assert_allclose(actual.item(), expected, atol=5e-3)


@pytest.mark.parametrize(("scale", "noisy"), [(0.0, False), (0.1, True)])
def test_a_schedule_without_scale_is_not_noisy(scale, noisy):
    schedule = LinearSchedule(5, scale, 0.001, 0.02)
    assert schedule.is_noisy == noisy
    t = torch.arange(6)
    assert_allclose(
        (schedule.signal(t).square() + schedule.noise(t).square()).numpy(), 1.0, rtol=1e-6
    )


def test_without_noise_the_reverse_step_is_the_prediction():
    x_0 = torch.tensor([[1.0, 2.0]])
    assert torch.equal(
        LinearSchedule(5, 0.0, 0.001, 0.02).posterior_mean(torch.zeros(1, 2), x_0, 3), x_0
    )
