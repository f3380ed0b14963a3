"""The items that stand for the catalogue in a batch's loss, where the catalogue is large."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ld4mrec_cli.model.rows import Rows


@dataclass(frozen=True)
class Candidates:
    """Distinct items, each with the probability of being among them."""

    items: Tensor
    """``(m,)`` int64, ascending."""
    log_inclusion: Tensor
    """Log of the probability that the item is a candidate, ``(m,)``."""

    def renumber(self, rows: Rows, items: Tensor | None = None) -> Rows:
        """``rows`` over the candidates, which hold all items of the rows.

        ``items``: what the rows are over now, as ascending ids ``(n,)``; the catalogue where None.
        """
        ids = rows.items if items is None else items[rows.items]
        return renumbered(replace(rows, items=ids), self.items)


def renumbered(rows: Rows, items: Tensor) -> Rows:
    """``rows`` over ``items`` ``(m,)`` int64, ascending, which hold all items of the rows."""
    return replace(rows, items=torch.searchsorted(items, rows.items), n_items=len(items))


MULTIPLE = 256
"""Candidates come in multiples of this, where they are many: matrix products of ever new sizes are slower."""


class CandidateSampler:
    """Draws candidates: all items of the batch's rows, and a number of other items drawn evenly.

    Sums over the catalogue are estimated from the candidates, each weighed by the inverse of its probability of
    inclusion (Horvitz and Thompson 1952): nearly without bias, since that another row brings an item is taken as
    independent of the others. The batch's own items make popular ones likely, as is best for a softmax; they cost
    nothing, since their scores are needed anyway.
    """

    def __init__(self, n_drawn: int, degree: np.ndarray, n_rows: int) -> None:
        """``degree``: rows that have each item, of the ``n_rows`` rows of an epoch, ``(n_items,)``."""
        self.n_drawn = n_drawn
        self._multiple = MULTIPLE if n_drawn >= MULTIPLE else 1
        self._degree = torch.from_numpy(degree.astype(np.float64))
        self._n_rows = n_rows

    def draw(self, batch: Rows, generator: torch.Generator) -> Candidates:
        """The candidates of a batch."""
        own = torch.unique(batch.items)
        n_others = batch.n_items - len(own)
        wanted = -(-(len(own) + self.n_drawn) // self._multiple) * self._multiple - len(own)
        drawn = _draw_others(own, batch.n_items, min(wanted, n_others), generator)
        items = torch.cat([own, drawn]).sort().values
        self._degree = self._degree.to(items.device)
        # Log of the probability that neither the draw nor another row of the batch brings the item.
        absent = float(np.log1p(-len(drawn) / n_others)) if len(drawn) < n_others else -np.inf
        others = (len(batch) - 1) / max(self._n_rows - 1, 1)
        if others < 1.0:
            log_absent = absent + self._degree[items] * np.log1p(-others)
        else:
            log_absent = torch.where(self._degree[items] > 0, -torch.inf, absent)
        return Candidates(items, torch.log(-torch.expm1(log_absent)).float())


def _draw_others(own: Tensor, n_items: int, n: int, generator: torch.Generator) -> Tensor:
    """``n`` distinct items that are not among ``own`` ``(m,)`` int64, ascending; each such set is equally likely."""
    if 4 * n >= n_items - len(own):
        others = torch.ones(n_items, dtype=torch.bool, device=own.device).index_fill_(0, own, False).nonzero()[:, 0]
    else:
        others = own.new_empty(0)
        while len(others) < n:  # about twice as many as are needed: once is nearly always enough
            tried = torch.randint(n_items, (2 * n + 64,), generator=generator, device=own.device)
            others = torch.unique(torch.cat([others, tried]))
            at = torch.searchsorted(own, others).clamp_max(len(own) - 1)
            others = others[own[at] != others]
    return others[torch.randperm(len(others), generator=generator, device=own.device)[:n]]
