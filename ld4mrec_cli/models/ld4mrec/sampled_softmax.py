"""The items that stand for the catalog in a batch's loss, where the catalog is large."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ld4mrec_cli.models.ops.sparse_rows import SparseRows


@dataclass(frozen=True)
class Candidates:
    """Distinct items, each with the probability of being among them."""

    items: Tensor
    """``(m,)`` int64, ascending."""
    log_inclusion: Tensor
    """Log of the probability that the item is a candidate, ``(m,)``."""

    def among(self, rows: SparseRows) -> SparseRows:
        """``rows`` over the candidates in place of the catalog; behaviors that are none of them are left out."""
        at = torch.searchsorted(self.items, rows.items).clamp_max_(len(self.items) - 1)
        return replace(rows, items=at, n_items=len(self.items)).filter(self.items[at] == rows.items)


def reindex(rows: SparseRows, items: Tensor) -> SparseRows:
    """``rows`` over ``items`` ``(m,)`` int64, ascending, which hold all items of the rows."""
    return replace(rows, items=torch.searchsorted(items, rows.items), n_items=len(items))


MULTIPLE = 256
"""Candidates come in multiples of this, where they are many: matrix products of ever new sizes are slower."""


class CandidateSampler:
    """BatchRNG candidates: all items that the loss seeks in the batch, and a number of other items drawn evenly.

    With Gaussian noise, which reaches every candidate, all items of the batch take the place of those targets.

    Sums over the catalog are estimated from the candidates, each weighed by the inverse of its probability of
    inclusion (Horvitz and Thompson 1952): nearly without bias, since that another row brings an item is taken as
    independent of the others. The items that are targets make popular ones likely, as is best for a softmax; they cost
    nothing, since their scores are needed anyway.
    """

    def __init__(self, n_drawn: int, degree: np.ndarray, n_rows: int) -> None:
        """``degree``: rows that have each item, of the ``n_rows`` rows of an epoch, ``(n_items,)``."""
        self.n_drawn = n_drawn
        self._multiple = MULTIPLE if n_drawn >= MULTIPLE else 1
        self._degree = torch.from_numpy(degree.astype(np.float64))
        self._n_rows = n_rows

    def draw(
        self, targets: SparseRows, generator: torch.Generator, share: float = 1.0
    ) -> Candidates:
        """The candidates of a batch: the items of ``targets``, and drawn ones.

        ``share``: probability that a behavior of the batch is among the targets.
        """
        own = torch.unique(targets.items)
        n_others = targets.n_items - len(own)
        wanted = -(-(len(own) + self.n_drawn) // self._multiple) * self._multiple - len(own)
        drawn = _draw_others(own, targets.n_items, min(wanted, n_others), generator)
        items = torch.cat([own, drawn]).sort().values
        self._degree = self._degree.to(items.device)
        # Log of the probability that neither the draw nor another row of the batch brings the item.
        absent = float(np.log1p(-len(drawn) / n_others)) if len(drawn) < n_others else -np.inf
        others = share * (len(targets) - 1) / max(self._n_rows - 1, 1)
        if others < 1.0:
            log_absent = absent + self._degree[items] * np.log1p(-others)
        else:
            log_absent = torch.where(self._degree[items] > 0, -torch.inf, absent)
        return Candidates(items, torch.log(-torch.expm1(log_absent)).float())


def _draw_others(own: Tensor, n_items: int, n: int, generator: torch.Generator) -> Tensor:
    """``n`` distinct items that are not among ``own`` ``(m,)`` int64, ascending; each such set is equally likely."""
    if 4 * n >= n_items - len(own):
        others = (
            torch.ones(n_items, dtype=torch.bool, device=own.device)
            .index_fill_(0, own, False)
            .nonzero()[:, 0]
        )
    else:
        others = own.new_empty(0)
        while len(others) < n:  # about twice as many as are needed: once is nearly always enough
            tried = torch.randint(n_items, (2 * n + 64,), generator=generator, device=own.device)
            others = torch.unique(torch.cat([others, tried]))
            others = others[~torch.isin(others, own, assume_unique=True)]
    return others[torch.randperm(len(others), generator=generator, device=own.device)[:n]]
