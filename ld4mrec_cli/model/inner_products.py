"""Scores that are inner products of a row's vectors and the items' vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class InnerProducts:
    """The scores of n rows for all items, ``Σ_p queries_p items_pᵀ + bias``, not yet multiplied out.

    Whoever needs the scores of a block of items, or of some, computes no others.
    """

    queries: tuple[Tensor, ...]
    """Vectors of the rows, each ``(n, d_p)``."""
    items: tuple[Tensor, ...]
    """Vectors of the items, each ``(n_items, d_p)``, in the order of ``queries``."""
    bias: Tensor
    """``(n_items,)``."""

    @property
    def n_items(self) -> int:
        """Items that there are scores for."""
        return len(self.bias)

    def scores(self) -> Tensor:
        """All scores ``(n, n_items)``."""
        total = self.bias
        for queries, items in zip(self.queries, self.items, strict=True):
            total = torch.addmm(total, queries, items.T)
        return total

    def block(self, start: int, stop: int) -> InnerProducts:
        """The same for the items from ``start`` to before ``stop``, without a copy."""
        return replace(self, items=tuple(items[start:stop] for items in self.items), bias=self.bias[start:stop])

    def of_items(self, chosen: Tensor) -> InnerProducts:
        """The same for the items ``chosen`` ``(m,)`` int64, in their order."""
        return replace(self, items=tuple(items[chosen] for items in self.items), bias=self.bias[chosen])
