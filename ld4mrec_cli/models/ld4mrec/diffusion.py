"""The forward process, and the soft labels of behavioral reconstruction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.schedule import LinearSchedule
from ld4mrec_cli.models.ops.sparse_rows import SparseRows


@dataclass(frozen=True)
class Corrupted:
    """Result of the forward process for clean rows."""

    rows: SparseRows
    """The corrupted rows, input of C-Net."""
    unmasked: SparseRows
    """The behaviors that masking did not drop, with their clean values."""
    masked: SparseRows
    """The behaviors that masking dropped."""

    def __getitem__(self, rows: slice) -> Corrupted:
        """Consecutive rows: a slice without a step."""
        return Corrupted(self.rows[rows], self.unmasked[rows], self.masked[rows])

    def targets(
        self, clean: SparseRows, target: Literal["all", "masked"]
    ) -> tuple[SparseRows, SparseRows | None]:
        """The behaviors to predict, and those that the loss ignores (None: it ignores none)."""
        return (clean, None) if target == "all" else (self.masked, self.unmasked)


class ForwardProcess(nn.Module):
    """Masking of behaviors, then ``q(x_t | x_0) = N(√ᾱ_t x_0, (1-ᾱ_t) I)``."""

    def __init__(self, schedule: LinearSchedule, mask_rate: float) -> None:
        """``mask_rate``: probability that a behavior is dropped."""
        super().__init__()
        self.schedule = schedule
        self.mask_rate = mask_rate

    def forward(self, clean: SparseRows, t: Tensor, generator: torch.Generator) -> Corrupted:
        """Corrupt ``clean`` rows by ``t`` ``(n,)`` steps; t = 0 adds no Gaussian noise."""
        corrupted = self.mask(clean, generator)
        return replace(corrupted, rows=self.add_noise(corrupted.unmasked, t, generator))

    def mask(self, clean: SparseRows, generator: torch.Generator) -> Corrupted:
        """Drop behaviors at random, without Gaussian noise."""
        uniform = torch.rand(clean.items.shape, generator=generator, device=clean.items.device)
        is_unmasked = uniform >= self.mask_rate
        unmasked = clean.filter(is_unmasked)
        return Corrupted(unmasked, unmasked, clean.filter(~is_unmasked))

    def add_noise(
        self, rows: SparseRows, t: Tensor, generator: torch.Generator, *, shared: bool = False
    ) -> SparseRows:
        """Scale the rows and add Gaussian noise; ``shared`` draws the same noise for all rows."""
        if not self.schedule.is_noisy:
            return rows
        shape = (1 if shared else len(rows), rows.n_items)
        noise = torch.randn(shape, generator=generator, device=rows.values.device)
        values = rows.values * self.schedule.signal(t)[rows.row_of]
        return replace(rows, values=values, noise=noise * self.schedule.noise(t).unsqueeze(1))

    def add_noise_over_candidates(
        self,
        unmasked: SparseRows,
        clean: SparseRows,
        t: Tensor,
        generator: torch.Generator,
        log_inclusion: Tensor,
    ) -> SparseRows:
        """:meth:`add_noise` for rows over candidates ``(m,)`` in place of the catalog.

        The noise of an item is divided by the root of its inclusion probability (not that of the
        items of the ``clean`` row itself, which are always candidates). So linear maps of the noise
        have the same mean and, in expectation over the candidates, the same covariance.
        """
        noisy = self.add_noise(unmasked, t, generator)
        if noisy.noise is None:
            return noisy
        scaled = noisy.noise * (-0.5 * log_inclusion).exp()
        own_items = (clean.row_of, clean.items)
        return replace(noisy, noise=scaled.index_put_(own_items, noisy.noise[own_items]))


@dataclass(frozen=True)
class SoftReconstruction:
    """Soft labels: ``y = x + γ(1 - 2x)`` on a random subset S of each row, elsewhere ``y = x``."""

    probability: float
    """Probability p that an entry is in S."""
    intensity: float
    """γ."""
    random_subset: bool = False
    """Draw S. Otherwise the labels are their expectation, ``y = x + pγ(1 - 2x)`` everywhere."""

    @property
    def expected(self) -> float:
        """Smoothing pγ of every label in expectation."""
        return self.probability * self.intensity

    @property
    def is_drawn(self) -> bool:
        """Whether S is drawn and changes any label."""
        return self.random_subset and self.expected > 0.0

    def labels(self, x: Tensor, rng: BatchRNG) -> Tensor:
        """Soft labels y ``(n, n_items)`` of dense rows x ``(n, n_items)`` on a drawn subset."""
        is_smoothed = rng.bernoulli(self.probability, *x.shape)
        return torch.where(is_smoothed, x + self.intensity * (1.0 - 2.0 * x), x)
