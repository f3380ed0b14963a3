"""Forward process, soft behavioral reconstruction and importance sampling of t."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.schedule import LinearSchedule
from ld4mrec_cli.models.ops.sparse_rows import SparseRows

HISTORY = 10
"""Losses remembered per step t (Nichol and Dhariwal 2021, section 3.3)."""


@dataclass(frozen=True)
class Corrupted:
    """What the forward process made of clean rows."""

    rows: SparseRows
    """The corrupted rows that C-Net sees."""
    unmasked: SparseRows
    """The behaviors that masking left, at their clean values."""
    masked: SparseRows
    """The behaviors that masking dropped."""

    def __getitem__(self, rows: slice) -> Corrupted:
        """Consecutive rows: a slice without a step."""
        return Corrupted(self.rows[rows], self.unmasked[rows], self.masked[rows])

    def targets(
        self, clean: SparseRows, target: Literal["all", "masked"]
    ) -> tuple[SparseRows, SparseRows | None]:
        """The behaviors to be found, and those whose entries are left out of the loss, if any."""
        return (clean, None) if target == "all" else (self.masked, self.unmasked)


class ForwardProcess(nn.Module):
    """Masking of behaviors, then ``q(x_t | x_0) = N(√ᾱ_t x_0, (1-ᾱ_t) I)``."""

    def __init__(self, schedule: LinearSchedule, mask_rate: float) -> None:
        super().__init__()
        self.schedule = schedule
        self.mask_rate = mask_rate

    def forward(self, clean: SparseRows, t: Tensor, generator: torch.Generator) -> Corrupted:
        """Corrupt ``clean`` rows by ``t`` ``(n,)`` steps; t = 0 adds no Gaussian noise."""
        masked = self.mask(clean, generator)
        return replace(masked, rows=self.add_noise(masked.unmasked, t, generator))

    def mask(self, clean: SparseRows, generator: torch.Generator) -> Corrupted:
        """The masking alone."""
        kept = (
            torch.rand(clean.items.shape, generator=generator, device=clean.items.device)
            >= self.mask_rate
        )
        unmasked = clean.filter(kept)
        return Corrupted(unmasked, unmasked, clean.filter(~kept))

    def add_noise_over_candidates(
        self,
        unmasked: SparseRows,
        clean: SparseRows,
        t: Tensor,
        generator: torch.Generator,
        log_inclusion: Tensor,
    ) -> SparseRows:
        """The Gaussian step where the rows are over candidates ``(m,)``, whose noise stands for the catalog's.

        It is larger by the inverse root of the inclusion probability (but at a ``clean`` row's own items), so that
        linear maps of it have the same mean and, in expectation over the candidates, the same covariance.
        """
        noisy = self.add_noise(unmasked, t, generator)
        if noisy.noise is None:
            return noisy
        scaled = noisy.noise * (-0.5 * log_inclusion).exp()
        own = (clean.row_of, clean.items)  # candidates with certainty
        return replace(noisy, noise=scaled.index_put_(own, noisy.noise[own]))

    def add_noise(
        self, rows: SparseRows, t: Tensor, generator: torch.Generator, *, shared: bool = False
    ) -> SparseRows:
        """The Gaussian step alone; ``shared`` draws one noise for all rows."""
        if not self.schedule.is_noisy:
            return rows
        noise = torch.randn(
            1 if shared else len(rows), rows.n_items, generator=generator, device=rows.values.device
        )
        values = rows.values * self.schedule.signal(t)[rows.row_of]
        return replace(rows, values=values, noise=noise * self.schedule.noise(t).unsqueeze(1))


@dataclass(frozen=True)
class SoftReconstruction:
    """Soft behavioral reconstruction: on a random subset S of each row, ``y = x + γ(1 - 2x)``; elsewhere y = x."""

    probability: float
    """Probability p that an entry is in S."""
    intensity: float
    """γ."""
    drawn: bool = False
    """Whether S is drawn; else the labels are their expectation over S, ``y = x + pγ(1 - 2x)`` everywhere."""

    @property
    def expected(self) -> float:
        """The smoothing pγ of every label in expectation."""
        return self.probability * self.intensity

    @property
    def is_drawn(self) -> bool:
        """Whether there is a subset to be drawn."""
        return self.drawn and self.expected > 0.0

    def labels(self, x: Tensor, rng: BatchRNG) -> Tensor:
        """Soft labels y ``(n, n_items)`` of the dense rows x ``(n, n_items)``, on a drawn subset."""
        chosen = rng.bernoulli(self.probability, *x.shape)
        return torch.where(chosen, x + self.intensity * (1.0 - 2.0 * x), x)


class StepSampler(nn.Module):
    """BatchRNG t: uniformly, or with ``p_t ∝ √E[L_t²]`` once each t has a full history of losses."""

    losses: Tensor
    filled: Tensor

    def __init__(self, n_steps: int, importance: bool) -> None:
        """``n_steps``: number of values that t takes, 0 among them."""
        super().__init__()
        self.importance = importance
        self.register_buffer("losses", torch.zeros(n_steps, HISTORY, dtype=torch.float64))
        self.register_buffer("filled", torch.zeros(n_steps, dtype=torch.int64))

    def probabilities(self) -> Tensor:
        """Return ``p_t`` ``(n_steps,)``, float64."""
        n_steps = len(self.filled)
        uniform = torch.full(
            (n_steps,), 1.0 / n_steps, dtype=torch.float64, device=self.losses.device
        )
        if not self.importance or bool((self.filled < HISTORY).any()):
            return uniform
        root = self.losses.square().mean(dim=1).sqrt()
        total = root.sum()
        return root / total * 0.99 + uniform * 0.01 if total > 0 else uniform

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw t ``(n,)`` and the weights ``1 / (n_steps p_t)`` ``(n,)`` that keep the loss unbiased."""
        p = self.probabilities()
        t = torch.multinomial(p, n, replacement=True, generator=generator)
        return t, (1.0 / (len(p) * p[t])).float()

    @torch.no_grad()
    def update(self, t: Tensor, losses: Tensor) -> None:
        """Remember the mean loss of each t in the batch; ``t`` and ``losses`` are ``(n,)``."""
        if not self.importance:
            return
        n_steps = len(self.filled)
        total = self.losses.new_zeros(n_steps).index_add_(0, t, losses.detach().double())
        count = self.losses.new_zeros(n_steps).index_add_(
            0, t, torch.ones_like(losses, dtype=torch.float64)
        )
        seen = count > 0
        shifted = torch.cat([self.losses[:, 1:], (total / count.clamp_min(1)).unsqueeze(1)], dim=1)
        self.losses.copy_(torch.where(seen.unsqueeze(1), shifted, self.losses))
        self.filled.add_(seen.long()).clamp_(max=HISTORY)
