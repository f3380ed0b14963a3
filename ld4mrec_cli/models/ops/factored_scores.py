"""Scores that are inner products of a row's vectors and the items' vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


def matmul_dtype(like: Tensor) -> torch.dtype:
    """Type that matrix products with ``like`` are computed in here."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


@dataclass(frozen=True)
class FactoredScores:
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
        """All scores ``(n, n_items)``, in float32 also where the products are not."""
        return self.products() + self.bias

    def products(self) -> Tensor:
        """The scores but for the bias, in the type that products are computed in here."""
        dtype = matmul_dtype(self.bias)
        total: Tensor | None = None
        for queries, items in zip(self.queries, self.items, strict=True):
            one, other = queries.to(dtype), items.to(dtype).T
            total = torch.mm(one, other) if total is None else total.addmm_(one, other)
        assert total is not None
        return total

    def block(self, start: int, stop: int) -> FactoredScores:
        """The same for the items from ``start`` to before ``stop``, without a copy."""
        return replace(
            self, items=tuple(items[start:stop] for items in self.items), bias=self.bias[start:stop]
        )

    def of_items(self, chosen: Tensor) -> FactoredScores:
        """The same for the items ``chosen`` ``(m,)`` int64, in their order."""
        return replace(
            self, items=tuple(items[chosen] for items in self.items), bias=self.bias[chosen]
        )

    def shifted(self, by: float) -> FactoredScores:
        """The same with ``by`` added to every score."""
        return replace(self, bias=self.bias + by) if by else self

    def at(self, rows: Tensor, items: Tensor) -> Tensor:
        """The scores at (row, item), ``(m,)`` for ``rows`` ``(m,)`` and ``items`` ``(m,)`` int64."""
        total = self.bias[items]
        for queries, vectors in zip(self.queries, self.items, strict=True):
            total = total + (queries[rows] * vectors[items]).sum(dim=1)
        return total

    def sum_of_squares(self) -> Tensor:
        """The sum of each row's squared scores ``(n,)``, through the items' Gram matrix: ``Σ_i (q·v_i + b_i)²``."""
        with torch.autocast(
            self.bias.device.type, enabled=False
        ):  # sums over the catalog, whose terms may cancel
            queries, items = (
                torch.cat(self.queries, dim=1).float(),
                [vectors.float() for vectors in self.items],
            )
            gram = torch.cat([torch.cat([a.T @ b for b in items], dim=1) for a in items])
            bias = self.bias.float()
            of_bias = torch.cat([vectors.T @ bias for vectors in items])
            return (
                ((queries @ gram) * queries).sum(dim=1)
                + 2.0 * (queries @ of_bias)
                + bias.square().sum()
            )
