"""The linear noise schedule of the forward process."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearSchedule(nn.Module):
    """``1 - ᾱ_t = s (a_min + (t-1)/(T-1) (a_max - a_min))`` for t = 1 … T, and ᾱ_0 = 1.

    Constants are computed in float64 and stored as float32 buffers ``(T + 1,)``, indexed by t.
    """

    alpha_bar: Tensor
    alpha: Tensor
    snr_drop: Tensor
    """``SNR(t-1) - SNR(t)`` with ``SNR = ᾱ / (1-ᾱ)``: weight of step t in the variational bound.

    1 where step t-1 has no noise.
    """
    signal_scale: Tensor
    noise_scale: Tensor
    posterior_x_t: Tensor
    """Coefficient of x_t in the posterior mean."""
    posterior_x_0: Tensor
    """Coefficient of x_0 in the posterior mean."""

    def __init__(self, steps: int, scale: float, low: float, high: float) -> None:
        """``steps``: T; ``scale``: s; ``low`` and ``high``: a_min and a_max."""
        super().__init__()
        self.steps = steps
        self.is_noisy = scale * high > 0.0
        """Whether any step adds Gaussian noise."""
        variance = torch.zeros(steps + 1, dtype=torch.float64)
        variance[1:] = scale * torch.linspace(low, high, steps, dtype=torch.float64)
        alpha_bar = 1.0 - variance
        alpha = torch.ones_like(alpha_bar)
        alpha[1:] = alpha_bar[1:] / alpha_bar[:-1]
        posterior_x_t, posterior_x_0 = _posterior_coefficients(variance, alpha_bar, alpha)
        self._register("alpha_bar", alpha_bar)
        self._register("snr_drop", _snr_drop(variance))
        self._register("alpha", alpha)
        self._register("signal_scale", alpha_bar.sqrt())
        self._register("noise_scale", variance.sqrt())
        self._register("posterior_x_t", posterior_x_t)
        self._register("posterior_x_0", posterior_x_0)

    def _register(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.float(), persistent=False)

    def signal(self, t: Tensor) -> Tensor:
        """Return ``sqrt(ᾱ_t)`` for steps ``t`` ``(n,)``."""
        return self.signal_scale[t]

    def noise(self, t: Tensor) -> Tensor:
        """Return ``sqrt(1 - ᾱ_t)`` for steps ``t`` ``(n,)``."""
        return self.noise_scale[t]

    def posterior_mean(self, x_t: Tensor, x_0: Tensor, t: int) -> Tensor:
        """Mean of ``q(x_{t-1} | x_t, x_0)`` by Bayes' rule, ``(n, n_items)``, for t ≥ 1."""
        return self.posterior_x_t[t] * x_t + self.posterior_x_0[t] * x_0


def _snr_drop(variance: Tensor) -> Tensor:
    """``SNR(t-1) - SNR(t)`` ``(T + 1,)``; 1 where step t-1 has no noise."""
    ratio = (1.0 - variance) / variance
    before = variance.roll(1)
    return torch.where(before > 0, ratio.roll(1) - ratio, 1.0).index_fill(0, torch.tensor([0]), 1.0)


def _posterior_coefficients(
    variance: Tensor, alpha_bar: Tensor, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    """Coefficients of x_t and x_0 in the posterior mean, each ``(T + 1,)``.

    Before there is any noise they are 0 and 1.
    """
    x_t, x_0 = torch.zeros_like(alpha), torch.ones_like(alpha)
    noisy = variance > 0
    noisy[0] = False
    before, before_bar = variance.roll(1)[noisy], alpha_bar.roll(1)[noisy]
    x_t[noisy] = alpha[noisy].sqrt() * before / variance[noisy]
    x_0[noisy] = before_bar.sqrt() * (1.0 - alpha[noisy]) / variance[noisy]
    return x_t, x_0
