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

    def __init__(self, steps: int, scale: float, low: float, high: float) -> None:
        super().__init__()
        self.steps = steps
        destroyed = torch.zeros(steps + 1, dtype=torch.float64)
        destroyed[1:] = scale * torch.linspace(low, high, steps, dtype=torch.float64)
        alpha_bar = 1.0 - destroyed
        alpha = torch.ones_like(alpha_bar)
        alpha[1:] = alpha_bar[1:] / alpha_bar[:-1]
        self.register_buffer("alpha_bar", alpha_bar.float(), persistent=False)
        self.register_buffer("alpha", alpha.float(), persistent=False)

    @property
    def is_noisy(self) -> bool:
        """Whether any step adds Gaussian noise."""
        return bool(self.alpha_bar[-1] < 1.0)

    def signal(self, t: Tensor) -> Tensor:
        """Return ``sqrt(ᾱ_t)`` for steps ``t`` ``(n,)``."""
        return self.alpha_bar[t].sqrt()

    def noise(self, t: Tensor) -> Tensor:
        """Return ``sqrt(1 - ᾱ_t)`` for steps ``t`` ``(n,)``."""
        return (1.0 - self.alpha_bar[t]).sqrt()

    def posterior_mean(self, x_t: Tensor, x_0: Tensor, t: int) -> Tensor:
        """Mean of ``q(x_{t-1} | x_t, x_0)`` by Bayes' rule, ``(n, n_items)``, for t ≥ 1."""
        remaining = 1.0 - self.alpha_bar[t]
        if remaining <= 0:
            return x_0
        of_x_t = self.alpha[t].sqrt() * (1.0 - self.alpha_bar[t - 1]) / remaining
        of_x_0 = self.alpha_bar[t - 1].sqrt() * (1.0 - self.alpha[t]) / remaining
        return of_x_t * x_t + of_x_0 * x_0
