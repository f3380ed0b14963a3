"""Scores that are inner products of a row's vectors and the items' vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


def matmul_dtype(like: Tensor) -> torch.dtype:
    """Type of matrix products with ``like``: that of autocast where it is enabled."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


@dataclass(frozen=True)
class FactoredScores:
    """Scores of n rows for all items as factors, ``Σ_p queries_p items_pᵀ + bias``.

    So the scores of some items are computed without the others.
    """

    queries: tuple[Tensor, ...]
    """Vectors of the rows, each ``(n, d_p)``."""
    items: tuple[Tensor, ...]
    """Vectors of the items, each ``(n_items, d_p)``, in the order of ``queries``."""
    bias: Tensor
    """``(n_items,)``."""

    @property
    def n_items(self) -> int:
        """Number of items that are scored."""
        return len(self.bias)

    @property
    def device(self) -> torch.device:
        """Device of the vectors."""
        return self.bias.device

    def scores(self) -> Tensor:
        """All scores ``(n, n_items)``, float32 also under autocast."""
        return self.products() + self.bias

    def products(self) -> Tensor:
        """The scores without the bias ``(n, n_items)``, in :func:`matmul_dtype`."""
        dtype = matmul_dtype(self.bias)
        total: Tensor | None = None
        for queries, items in zip(self.queries, self.items, strict=True):
            a, b = queries.to(dtype), items.to(dtype).T
            total = torch.mm(a, b) if total is None else total.addmm_(a, b)
        assert total is not None
        return total

    def block(self, start: int, stop: int) -> FactoredScores:
        """Scores of the items from ``start`` to before ``stop``, without a copy."""
        items = tuple(vectors[start:stop] for vectors in self.items)
        return replace(self, items=items, bias=self.bias[start:stop])

    def of_items(self, item_ids: Tensor) -> FactoredScores:
        """Scores of the items ``item_ids`` ``(m,)`` int64, in their order."""
        items = tuple(vectors[item_ids] for vectors in self.items)
        return replace(self, items=items, bias=self.bias[item_ids])

    def biased(self, bias: Tensor) -> FactoredScores:
        """Add ``bias`` ``(n_items,)`` to the scores of each row."""
        return replace(self, bias=self.bias + bias)

    def shifted(self, offset: float) -> FactoredScores:
        """Add ``offset`` to every score."""
        return replace(self, bias=self.bias + offset) if offset else self

    def at(self, rows: Tensor, items: Tensor) -> Tensor:
        """Scores of the pairs (row, item), ``(m,)``; ``rows`` and ``items`` are ``(m,)`` int64."""
        total = self.bias[items]
        for queries, vectors in zip(self.queries, self.items, strict=True):
            total = total + (queries[rows] * vectors[items]).sum(dim=1)
        return total

    def sum_of_squares(self) -> Tensor:
        """Sum of each row's squared scores ``(n,)``, ``Σ_i (q·v_i + b_i)²``.

        It is computed through the Gram matrix of the items, without the scores.
        """
        with torch.autocast(self.bias.device.type, enabled=False):  # the terms may cancel
            queries = torch.cat(self.queries, dim=1).float()
            items, bias = [vectors.float() for vectors in self.items], self.bias.float()
            gram = torch.cat([torch.cat([a.T @ b for b in items], dim=1) for a in items])
            bias_products = torch.cat([vectors.T @ bias for vectors in items])
            squares = ((queries @ gram) * queries).sum(dim=1)
            return squares + 2.0 * (queries @ bias_products) + bias.square().sum()
