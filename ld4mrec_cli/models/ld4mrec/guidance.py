"""Guidance signals: item bases, computed once from the training interactions and the item features.

Each signal k has an item basis ``G_k`` ``(n_items, r_k)``: the singular vectors V for
``collaborative``, the features for a modality. The guidance of a row is linear in the row and then
normalized, so it exists for any row: ``g_k(x) = l2_normalize(Σ_i x_i / √d_i · G_k,i)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ld4mrec_cli.models.ops.item_bases import inverse_sqrt
from ld4mrec_cli.models.ops.sparse_low_rank import Columns, SparseLowRank, SparseLowRankProduct
from ld4mrec_cli.models.ops.sparse_rows import SparseRows, l2_normalize

COLLABORATIVE = "collaborative"


class GuidanceSignals(nn.Module):
    """Item bases side by side in one matrix, and the scale of each item by its degree."""

    joined: Tensor
    """``[G_1 G_2 …]`` ``(n_items, Σ r_k)``: one pass over a row serves all signals."""
    inverse_sqrt_degree: Tensor
    """``1/√d_i`` ``(n_items,)``."""

    def __init__(self, bases: Mapping[str, np.ndarray], item_degree: np.ndarray) -> None:
        """``bases``: name → ``(n_items, r_k)``; ``item_degree``: ``(n_items,)``, may be zero."""
        super().__init__()
        self.widths = {name: basis.shape[1] for name, basis in bases.items()}
        joined = np.concatenate(
            [np.asarray(basis, dtype=np.float32) for basis in bases.values()], axis=1
        )
        self.register_buffer("joined", torch.from_numpy(joined), persistent=False)
        self._cast: Tensor | None = None
        scale = torch.from_numpy(inverse_sqrt(item_degree).astype(np.float32))
        self.register_buffer("inverse_sqrt_degree", scale, persistent=False)

    def joined_as(self, dtype: torch.dtype) -> Tensor:
        """``joined`` as ``dtype``; the copy is stored for the next step."""
        if dtype == self.joined.dtype:
            return self.joined
        cast = self._cast
        if cast is None or cast.dtype != dtype or cast.device != self.joined.device:
            cast = self._cast = self.joined.to(dtype)
        return cast

    @property
    def names(self) -> tuple[str, ...]:
        """The signals, in the order of their columns in ``joined``."""
        return tuple(self.widths)

    def basis(self, name: str) -> Tensor:
        """Return ``G_k`` ``(n_items, r_k)``."""
        return self.joined.split(list(self.widths.values()), dim=1)[self.names.index(name)]

    def forward(
        self, rows: SparseRows, joined: Tensor | None = None, item_scale: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``g_k(x)`` ``(n, r_k)`` by signal name; an empty row has zeros.

        ``joined`` and ``item_scale`` replace the buffers for rows over some of the items.
        """
        if joined is None:
            joined, item_scale = self.joined, self.inverse_sqrt_degree
        parts = rows.matmul(joined, item_scale).split(list(self.widths.values()), dim=1)
        return {name: l2_normalize(part) for name, part in zip(self.names, parts, strict=True)}


class ItemItemWeights(nn.Module):
    """Zero-diagonal item-item weights B (EASE), as a collaborative part of the scores: ``x B``."""

    weights: Tensor

    def __init__(self, weights: np.ndarray, scale: float) -> None:
        """Store the weights.

        Args:
            weights: ``(n_items, n_items)``, row = item interacted with, column = item scored.
            scale: factor of ``x B``, or where a learned factor starts.
        """
        super().__init__()
        contiguous = np.ascontiguousarray(weights, dtype=np.float32)
        self.register_buffer("weights", torch.from_numpy(contiguous))
        self.scale = scale

    def forward(self, rows: SparseRows, items: Tensor | None = None) -> Tensor:
        """Return ``x B`` ``(n, n_items)``, or its columns ``items`` ``(m,)`` int64 alone.

        A behavior of weight w counts √w, as in the fit of B.
        """
        rows = rows.with_root_weights()
        if items is None:
            return rows.matmul(self.weights)
        used, at = rows.items.unique(return_inverse=True)
        block = self.weights[used[:, None], items]
        return replace(rows, items=at, n_items=len(used)).matmul(block)

    def columns(self, rows: SparseRows) -> Callable[[Columns], Tensor]:
        """``x B``, whose columns are computed when they are needed."""

        def compute(items: Columns) -> Tensor:
            return self(rows)[:, items] if isinstance(items, slice) else self(rows, items)

        return compute


class SparseItemItemWeights(SparseLowRankProduct):
    """:class:`ItemItemWeights` of a large catalog: sparse plus low rank."""

    def __init__(self, weights: SparseLowRank, scale: float) -> None:
        """``scale`` as of :class:`ItemItemWeights`."""
        super().__init__(weights)
        self.scale = scale

    def forward(self, rows: SparseRows, items: Tensor | None = None) -> Tensor:
        """See :class:`ItemItemWeights`."""
        return super().forward(rows.with_root_weights(), items)

    def columns(self, rows: SparseRows) -> Callable[[Columns], Tensor]:
        """``x B``, whose columns are computed when they are needed."""
        return self.multiply(rows.with_root_weights()).columns


AnyItemItemWeights = ItemItemWeights | SparseItemItemWeights


def make_item_item_weights(weights: np.ndarray | SparseLowRank, scale: float) -> AnyItemItemWeights:
    """The module for either form of the weights; arguments as of :class:`ItemItemWeights`."""
    if isinstance(weights, np.ndarray):
        return ItemItemWeights(weights, scale)
    return SparseItemItemWeights(weights, scale)
