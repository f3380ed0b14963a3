"""Item-item weights in little memory: sparse plus low rank, with a zero diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix, diags
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

    def without_negatives(self) -> SparseLowRank:
        """The same with the negative entries of S set to 0."""
        kept = self.sparse.copy()
        np.clip(kept.data, 0.0, None, out=kept.data)
        kept.eliminate_zeros()
        return replace(self, sparse=kept)

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


Columns = slice | Tensor
"""Items that are scored: a range of the catalog, or ``(m,)`` int64."""


class SparseLowRankProduct(nn.Module):
    """Multiplies rows with a :class:`SparseLowRank`.

    The sparse part stays on the CPU, where a product costs only the weights of the row's items.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weights: SparseLowRank) -> None:
        super().__init__()
        own = np.einsum("id,id->i", weights.left, weights.right)
        self._sparse = csr_matrix(weights.sparse - diags(own), dtype=np.float32)
        """``S - diag(L Rᵀ)``, so that the low rank leaves the diagonal at zero."""
        left, right = torch.from_numpy(weights.left), torch.from_numpy(weights.right)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)

    @property
    def sparse(self) -> csr_matrix:
        """``S - diag(L Rᵀ)`` ``(n_items, n_items)``: what is added to the low rank."""
        return self._sparse

    def forward(self, rows: SparseRows, items: Tensor | None = None) -> Tensor:
        """Return ``x B`` ``(n, n_items)`` float32 on the device of the rows.

        ``items`` ``(m,)`` int64: of these items alone, for rows without noise.
        """
        if items is not None:
            return self.multiply(rows).columns(items)
        scores = self.multiply(rows).columns(slice(0, rows.n_items))
        if rows.noise is None:
            return scores
        with torch.autocast(scores.device.type, enabled=False):
            low_rank = rows.noise @ self.left @ self.right.T
        sparse = torch.from_numpy(rows.noise.cpu().numpy() @ self._sparse).to(scores.device)
        return scores + sparse + low_rank

    def multiply(self, rows: SparseRows) -> ColumnProduct:
        """``x B`` of the behaviors of ``rows``, whose columns are computed when they are needed."""
        sparse = (rows.to_csr() @ self._sparse).tocsc()
        queries = replace(rows, noise=None).matmul(self.left)
        return ColumnProduct(sparse, queries, self.right)


@dataclass(frozen=True)
class ColumnProduct:
    """``x B`` of n rows, of which columns are computed when they are needed."""

    sparse: csc_matrix
    """The product with the sparse part ``(n, n_items)``."""
    queries: Tensor
    """``x L`` ``(n, d)``."""
    right: Tensor
    """R ``(n_items, d)``."""

    def columns(self, items: Columns) -> Tensor:
        """Scores of ``items``, float32 ``(n, m)``, in memory of their own."""
        at = items if isinstance(items, slice) else items.cpu().numpy()
        scores = torch.from_numpy(self.sparse[:, at].toarray(order="C")).to(self.queries.device)
        with torch.autocast(scores.device.type, enabled=False):
            return scores.addmm_(self.queries, self.right[items].T)
