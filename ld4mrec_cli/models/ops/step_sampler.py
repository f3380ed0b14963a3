"""Importance sampling of the diffusion step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HISTORY = 10
"""Losses stored per step t (Nichol and Dhariwal 2021, section 3.3)."""
UNIFORM_SHARE = 0.01
"""Share of the uniform distribution in that of t: no step becomes impossible."""


class StepSampler(nn.Module):
    """Draws t uniformly, or with ``p_t ∝ √E[L_t²]`` once each t has a full history of losses."""

    losses: Tensor
    """The last losses of each t, ``(n_steps, HISTORY)``, float64."""
    filled: Tensor
    """Number of stored losses of each t, ``(n_steps,)``, int64."""

    def __init__(self, n_steps: int, importance: bool) -> None:
        """``n_steps``: number of values of t, counted from 0."""
        super().__init__()
        self.importance = importance
        self.register_buffer("losses", torch.zeros(n_steps, HISTORY, dtype=torch.float64))
        self.register_buffer("filled", torch.zeros(n_steps, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.filled)

    def probabilities(self) -> Tensor:
        """Return ``p_t`` ``(n_steps,)``, float64."""
        uniform = torch.full_like(self.losses[:, 0], 1.0 / len(self))
        if not self.importance or bool((self.filled < HISTORY).any()):
            return uniform
        root = self.losses.square().mean(dim=1).sqrt()
        total = root.sum()
        if not total > 0:
            return uniform
        return root / total * (1.0 - UNIFORM_SHARE) + uniform * UNIFORM_SHARE

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw t ``(n,)``, and the weights ``1 / (n_steps p_t)`` ``(n,)`` of an unbiased loss."""
        p = self.probabilities()
        t = torch.multinomial(p, n, replacement=True, generator=generator)
        return t, (1.0 / (len(p) * p[t])).float()

    @torch.no_grad()
    def update(self, t: Tensor, losses: Tensor) -> None:
        """Store the mean loss of each t in the batch; ``t`` and ``losses`` are ``(n,)``."""
        if not self.importance:
            return
        zeros = self.losses.new_zeros(len(self))
        total = zeros.index_add(0, t, losses.detach().double())
        count = zeros.index_add(0, t, torch.ones_like(losses, dtype=torch.float64))
        is_drawn = count > 0
        mean = (total / count.clamp_min(1)).unsqueeze(1)
        shifted = torch.cat([self.losses[:, 1:], mean], dim=1)
        self.losses.copy_(torch.where(is_drawn.unsqueeze(1), shifted, self.losses))
        self.filled.add_(is_drawn.long()).clamp_(max=HISTORY)
