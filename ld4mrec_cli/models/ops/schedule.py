"""The linear noise schedule of the forward process."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearSchedule(nn.Module):
    """``1 - ᾱ_t = s (a_min + (t-1)/(T-1) (a_max - a_min))`` for t = 1..T, and ᾱ_0 = 1 (LD4MRec, forward process).

    Constants are computed in float64 and kept as float32 buffers of length ``T + 1``, indexed by t.
    """

    alpha_bar: Tensor
    alpha: Tensor
    snr_drop: Tensor
    """``SNR(t-1) - SNR(t)``, ``SNR = ᾱ / (1-ᾱ)``, which weighs step t in the variational bound; 1 after no noise."""
    signal_scale: Tensor
    noise_scale: Tensor
    of_x_t: Tensor
    of_x_0: Tensor

    def __init__(self, steps: int, scale: float, low: float, high: float) -> None:
        super().__init__()
        self.steps = steps
        self.is_noisy = scale * high > 0.0
        """Whether any step adds Gaussian noise."""
        masked = torch.zeros(steps + 1, dtype=torch.float64)
        masked[1:] = scale * torch.linspace(low, high, steps, dtype=torch.float64)
        alpha_bar = 1.0 - masked
        alpha = torch.ones_like(alpha_bar)
        alpha[1:] = alpha_bar[1:] / alpha_bar[:-1]
        of_x_t, of_x_0 = _posterior(masked, alpha_bar, alpha)
        self._keep("alpha_bar", alpha_bar)
        self._keep("snr_drop", _snr_drop(masked))
        self._keep("alpha", alpha)
        self._keep("signal_scale", alpha_bar.sqrt())
        self._keep("noise_scale", masked.sqrt())
        self._keep("of_x_t", of_x_t)
        self._keep("of_x_0", of_x_0)

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.float(), persistent=False)

    def signal(self, t: Tensor) -> Tensor:
        """Return ``sqrt(ᾱ_t)`` for steps ``t`` ``(n,)``."""
        return self.signal_scale[t]

    def noise(self, t: Tensor) -> Tensor:
        """Return ``sqrt(1 - ᾱ_t)`` for steps ``t`` ``(n,)``."""
        return self.noise_scale[t]

    def posterior_mean(self, x_t: Tensor, x_0: Tensor, t: int) -> Tensor:
        """Mean of ``q(x_{t-1} | x_t, x_0)`` by Bayes' rule, ``(n, n_items)``, for t ≥ 1."""
        return self.of_x_t[t] * x_t + self.of_x_0[t] * x_0


def _snr_drop(masked: Tensor) -> Tensor:
    """Drop of the signal-to-noise ratio at each step ``(T + 1,)``; 1 where the step before has no noise."""
    ratio = (1.0 - masked) / masked
    before = masked.roll(1)
    return torch.where(before > 0, ratio.roll(1) - ratio, 1.0).index_fill(0, torch.tensor([0]), 1.0)


def _posterior(masked: Tensor, alpha_bar: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of x_t and x_0 in the posterior mean, each ``(T + 1,)``; without noise so far x_0 is all."""
    of_x_t, of_x_0 = torch.zeros_like(alpha), torch.ones_like(alpha)
    noisy = masked > 0
    noisy[0] = False
    before, before_bar = masked.roll(1)[noisy], alpha_bar.roll(1)[noisy]
    of_x_t[noisy] = alpha[noisy].sqrt() * before / masked[noisy]
    of_x_0[noisy] = before_bar.sqrt() * (1.0 - alpha[noisy]) / masked[noisy]
    return of_x_t, of_x_0
