"""Candidates: the items that represent a large catalog in the loss of a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ld4mrec_cli.models.ops.sparse_rows import SparseRows

CANDIDATES_MULTIPLE = 256
"""Many candidates are rounded up to a multiple: matrix products of ever new sizes are slower."""


@dataclass(frozen=True)
class Candidates:
    """Distinct items, each with the probability of being among them."""

    items: Tensor
    """``(m,)`` int64, ascending."""
    log_inclusion: Tensor
    """Log of the probability that the item is a candidate, ``(m,)``."""

    def select(self, rows: SparseRows) -> SparseRows:
        """``rows`` over the candidates in place of the catalog, without the other behaviors."""
        positions = torch.searchsorted(self.items, rows.items).clamp_max_(len(self.items) - 1)
        is_candidate = self.items[positions] == rows.items
        return replace(rows, items=positions, n_items=len(self.items)).filter(is_candidate)


def reindex(rows: SparseRows, items: Tensor) -> SparseRows:
    """``rows`` over ``items`` ``(m,)`` int64 ascending, which include all items of the rows."""
    return replace(rows, items=torch.searchsorted(items, rows.items), n_items=len(items))


class CandidateSampler:
    """Samples candidates: all target items of the batch, and other items uniformly.

    With Gaussian noise, which reaches every candidate, all items of the batch take the place of the
    target items.

    A sum over the catalog is estimated from the candidates, each divided by its inclusion
    probability (Horvitz and Thompson 1952). The estimate is nearly unbiased: the rows of a batch
    are treated as independent. Popular items are often targets, which is best for a softmax, and
    targets cost nothing, since their scores are needed anyway.
    """

    def __init__(self, n_sampled: int, degree: np.ndarray, n_rows: int) -> None:
        """``degree``: rows with each item, of the ``n_rows`` rows of an epoch, ``(n_items,)``."""
        self.n_sampled = n_sampled
        self._multiple = CANDIDATES_MULTIPLE if n_sampled >= CANDIDATES_MULTIPLE else 1
        self._degree = torch.from_numpy(degree.astype(np.float64))
        self._n_rows = n_rows

    def sample(
        self, targets: SparseRows, generator: torch.Generator, target_rate: float = 1.0
    ) -> Candidates:
        """The candidates of a batch: the items of ``targets``, and others at random.

        ``target_rate``: probability that a behavior of the batch is a target.
        """
        own = torch.unique(targets.items)
        n_others = targets.n_items - len(own)
        n_rounded = -(-(len(own) + self.n_sampled) // self._multiple) * self._multiple
        n_sampled = min(n_rounded - len(own), n_others)
        others = _sample_others(own, targets.n_items, n_sampled, generator)
        items = torch.cat([own, others]).sort().values
        absent = float(np.log1p(-n_sampled / n_others)) if n_sampled < n_others else -np.inf
        log_absent = self._log_absence(items, absent, target_rate * (len(targets) - 1))
        return Candidates(items, torch.log(-torch.expm1(log_absent)).float())

    def _log_absence(self, items: Tensor, absent: float, n_other_rows: float) -> Tensor:
        """Log of the probability that neither the sampling nor another row brings an item.

        ``absent`` is that of the sampling alone; ``n_other_rows`` is the number of other rows,
        times the probability that a behavior is a target.
        """
        self._degree = self._degree.to(items.device)
        degree = self._degree[items]
        share = n_other_rows / max(self._n_rows - 1, 1)
        if share < 1.0:
            return absent + degree * np.log1p(-share)
        return torch.where(degree > 0, -torch.inf, absent)


def _sample_others(own: Tensor, n_items: int, n: int, generator: torch.Generator) -> Tensor:
    """``n`` distinct items that are not in ``own`` ``(m,)`` int64 ascending, uniformly."""
    if 4 * n >= n_items - len(own):
        is_other = torch.ones(n_items, dtype=torch.bool, device=own.device)
        others = is_other.index_fill_(0, own, False).nonzero()[:, 0]
    else:
        others = own.new_empty(0)
        while len(others) < n:  # twice as many as needed: one pass is nearly always enough
            items = torch.randint(n_items, (2 * n + 64,), generator=generator, device=own.device)
            others = torch.unique(torch.cat([others, items]))
            others = others[~torch.isin(others, own, assume_unique=True)]
    return others[torch.randperm(len(others), generator=generator, device=own.device)[:n]]
