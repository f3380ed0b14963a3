"""Item-item weights in little memory: sparse plus low rank, with a zero diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.ops.sparse_rows import SparseRows

PARTS = ("data", "indices", "indptr")
"""The arrays of a CSR matrix, in the order that SciPy takes them."""


@dataclass(frozen=True)
class SparseLowRank:
    """``B = S + L Rᵀ - diag(L Rᵀ)``; row = item interacted with, column = item scored."""

    sparse: csr_matrix
    """S ``(n_items, n_items)`` float32, without a diagonal."""
    left: np.ndarray
    """L ``(n_items, d)`` float32; d may be 0."""
    right: np.ndarray
    """R ``(n_items, d)`` float32."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_items, n_items)``."""
        return len(self.left), len(self.left)

    def toarray(self) -> np.ndarray:
        """The whole matrix, for small ones."""
        low_rank = self.left @ self.right.T
        np.fill_diagonal(low_rank, 0.0)
        return np.asarray(self.sparse.toarray() + low_rank)

    def arrays(self) -> dict[str, np.ndarray]:
        """Named arrays that a run saves."""
        parts = {name: getattr(self.sparse, name) for name in PARTS}
        return {**parts, "left": self.left, "right": self.right}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SparseLowRank:
        """Restore from :meth:`arrays`.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not fit together.
        """
        left, right = arrays["left"], arrays["right"]
        n = len(arrays["indptr"]) - 1
        if left.ndim != 2 or left.shape != right.shape or len(left) != n:
            raise ValueError(f"factors {left.shape} and {right.shape} of {n} items")
        sparse = csr_matrix(tuple(arrays[name] for name in PARTS), shape=(n, n))
        sparse.check_format(full_check=True)  # a product with a bad index reads foreign memory
        return cls(sparse, left, right)


class SparseLowRankProduct(nn.Module):
    """Multiplies rows with a :class:`SparseLowRank`.

    The sparse part stays on the CPU, where a product costs only the weights of the row's items.
    """

    left: Tensor
    right: Tensor
    own: Tensor
    """Diagonal of ``L Rᵀ`` ``(n_items,)``."""

    def __init__(self, weights: SparseLowRank) -> None:
        super().__init__()
        self._sparse = weights.sparse
        left, right = torch.from_numpy(weights.left), torch.from_numpy(weights.right)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.register_buffer("own", (left * right).sum(dim=1), persistent=False)

    def forward(self, rows: SparseRows, items: Tensor | None = None) -> Tensor:
        """Return ``x B`` ``(n, n_items)`` float32 on the device of the rows.

        ``items`` ``(m,)`` int64: of these items alone, for rows without noise.
        """
        if items is not None:
            return self.multiply(rows).of_items(items)
        scores = self.multiply(rows).block(0, rows.n_items)
        if rows.noise is None:
            return scores
        with torch.autocast(scores.device.type, enabled=False):
            low_rank = rows.noise @ self.left @ self.right.T
        sparse = torch.from_numpy(rows.noise.cpu().numpy() @ self._sparse).to(scores.device)
        return scores + sparse + low_rank - rows.noise * self.own

    def multiply(self, rows: SparseRows) -> BlockProduct:
        """``x B`` of the behaviors of ``rows``, to be computed block by block of items."""
        sparse = (rows.to_csr() @ self._sparse).tocsc()
        return BlockProduct(sparse, replace(rows, noise=None), self)


class BlockProduct:
    """``x B`` of n rows, of which blocks of items are computed when they are needed."""

    def __init__(self, sparse: csc_matrix, rows: SparseRows, weights: SparseLowRankProduct) -> None:
        """``sparse``: the product with the sparse part ``(n, n_items)``; ``rows`` have no noise."""
        self._sparse, self._rows, self._weights = sparse, rows, weights
        self._queries = rows.matmul(weights.left)

    def block(self, start: int, stop: int) -> Tensor:
        """Scores of the items from ``start`` to before ``stop``, float32 ``(n, stop - start)``."""
        rows, weights = self._rows, self._weights
        device = rows.counts.device
        dense = self._sparse[:, start:stop].toarray(order="C")
        scores = torch.from_numpy(dense).to(device)
        if not weights.left.shape[1]:
            return scores
        with torch.autocast(device.type, enabled=False):
            scores.addmm_(self._queries, weights.right[start:stop].T)
        at = ((rows.items >= start) & (rows.items < stop)).nonzero().squeeze(1)
        items = rows.items[at]
        own = rows.values[at] * weights.own[items]
        return scores.index_put_((rows.row_of[at], items - start), -own, accumulate=True)

    def of_items(self, items: Tensor) -> Tensor:
        """Scores of ``items`` ``(m,)`` int64, float32 ``(n, m)``."""
        rows, weights = self._rows, self._weights
        columns, device = items.cpu().numpy(), rows.counts.device
        scores = torch.from_numpy(self._sparse[:, columns].toarray(order="C")).to(device)
        with torch.autocast(device.type, enabled=False):
            scores.addmm_(self._queries, weights.right[items].T)
        own = torch.from_numpy(rows.to_csr()[:, columns].toarray()).to(device)
        return scores - own * weights.own[items]
