"""A batch of interaction rows: sparse behaviors, and dense Gaussian noise where there is any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SparseRows:
    """``n`` rows over ``n_items`` items: ``behaviors + noise``.

    Behaviors are stored row after row. Only ``noise`` is dense, and only for a batch with Gaussian
    noise.
    """

    items: Tensor
    """Item of each behavior, ``(nnz,)`` int64, sorted within a row."""
    values: Tensor
    """Value of each behavior, ``(nnz,)`` float32."""
    counts: Tensor
    """Behaviors in each row, ``(n,)`` int64."""
    n_items: int
    """Length of a row."""
    noise: Tensor | None = None
    """Dense Gaussian part, ``(n, n_items)``, or None."""
    weights: Tensor | None = None
    """Weight of each behavior ``(nnz,)`` float32, which its clean value is; None: all are 1."""

    @classmethod
    def from_csr(cls, matrix: csr_matrix, device: torch.device | str = "cpu") -> SparseRows:
        """Make rows from a CSR matrix ``(n, n_items)`` with sorted indices, of weights."""
        values = torch.from_numpy(matrix.data.astype(np.float32)).to(device)
        return cls(
            items=torch.from_numpy(matrix.indices.astype(np.int64)).to(device),
            values=values,
            counts=torch.from_numpy(np.diff(matrix.indptr).astype(np.int64)).to(device),
            n_items=matrix.shape[1],
            weights=None if is_binary(matrix) else values,
        )

    def to_csr(self) -> csr_matrix:
        """The behaviors as a CSR matrix ``(n, n_items)`` float32, without the noise."""
        pointers = np.concatenate([[0], self.counts.cumsum(0).cpu().numpy()])
        parts = (self.values.cpu().numpy(), self.items.cpu().numpy(), pointers)
        return csr_matrix(parts, shape=(len(self), self.n_items))

    @classmethod
    def from_dense(cls, x: Tensor) -> SparseRows:
        """Rows without behaviors whose noise is ``x`` ``(n, n_items)``."""
        empty = torch.empty(0, dtype=torch.int64, device=x.device)
        counts = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return cls(empty, x.new_empty(0), counts, x.shape[1], noise=x)

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def row_of(self) -> Tensor:
        """Row of each behavior, ``(nnz,)`` int64."""
        rows = torch.arange(len(self), device=self.counts.device)
        return torch.repeat_interleave(rows, self.counts, output_size=len(self.items))

    def filter(self, mask: Tensor) -> SparseRows:
        """Keep the behaviors where ``mask`` ``(nnz,)`` bool is true."""
        counts = torch.zeros_like(self.counts).index_add_(0, self.row_of, mask.long())
        weights = None if self.weights is None else self.weights[mask]
        return replace(
            self, items=self.items[mask], values=self.values[mask], counts=counts, weights=weights
        )

    def with_root_weights(self) -> SparseRows:
        """Rows with √w in place of each weight w: what EASE is fitted on."""
        if self.weights is None:
            return self
        return replace(self, values=self.values / self.weights.sqrt(), weights=None)

    def __getitem__(self, rows: slice) -> SparseRows:
        """Consecutive rows: a slice without a step."""
        first, last, _ = rows.indices(len(self))
        if (first, last) == (0, len(self)):
            return self
        start, stop = int(self.counts[:first].sum()), int(self.counts[:last].sum())
        noise = None if self.noise is None else self.noise[first:last]
        counts = self.counts[first:last]
        return replace(
            self,
            items=self.items[start:stop],
            values=self.values[start:stop],
            counts=counts,
            noise=noise,
            weights=None if self.weights is None else self.weights[start:stop],
        )

    def sum_by_row(self, values: Tensor) -> Tensor:
        """Sum ``values`` ``(nnz,)``, one for each behavior, over each row, ``(n,)``."""
        return values.new_zeros(len(self)).index_add(0, self.row_of, values)

    def norm(self) -> Tensor:
        """Euclidean length of each row, ``(n, 1)``."""
        if self.noise is not None:
            return self.dense().norm(dim=1, keepdim=True)
        return self.sum_by_row(self.values.square()).sqrt().unsqueeze(1)

    def dense(self) -> Tensor:
        """Return the rows as one dense tensor ``(n, n_items)``."""
        if self.noise is None:
            out = self.values.new_zeros(len(self), self.n_items)
        else:
            out = self.noise.clone()
        return out.index_put_((self.row_of, self.items), self.values, accumulate=True)

    def matmul(self, matrix: Tensor, item_scale: Tensor | None = None) -> Tensor:
        """Multiply the rows with a matrix. The cost grows with the behaviors, without noise.

        Args:
            matrix: ``(n_items, dim)``.
            item_scale: factor of each item ``(n_items,)``, or None.

        Returns:
            ``(n, dim)``.
        """
        weights = self.values if item_scale is None else self.values * item_scale[self.items]
        offsets = self.counts.cumsum(0) - self.counts
        out = F.embedding_bag(
            self.items, matrix, offsets, mode="sum", per_sample_weights=weights.to(matrix.dtype)
        )
        if self.noise is None:
            return out
        noise = self.noise if item_scale is None else self.noise * item_scale
        return out + noise @ matrix


def is_binary(matrix: csr_matrix) -> bool:
    """Whether all stored entries are 1, so that there are no weights."""
    return bool((matrix.data == 1.0).all())


def root_weights(matrix: csr_matrix) -> csr_matrix:
    """A matrix of weights with √w in place of each weight w; a binary one stays as it is."""
    if is_binary(matrix):
        return matrix
    rooted = matrix.copy()
    rooted.data = np.sqrt(matrix.data)
    return rooted


def l2_normalize(x: Tensor) -> Tensor:
    """Scale the rows of ``x`` to unit length; a zero row stays zero."""
    return F.normalize(x, dim=1, eps=1e-12)
