"""Graphs of users and items: normalization and propagation, linear in their edges."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from scipy.sparse import bmat, csr_matrix, diags
from torch import Tensor, nn

from ld4mrec_cli.models.ops.item_bases import inverse_sqrt


class SparseOperator(nn.Module):
    """The product with a constant sparse matrix; float32 at every precision of the training."""

    matrix: Tensor
    transposed: Tensor

    def __init__(self, matrix: csr_matrix, is_symmetric: bool = False) -> None:
        """``matrix``: ``(n, m)``; a symmetric one is stored once."""
        super().__init__()
        self.register_buffer("matrix", _to_torch(matrix), persistent=False)
        transposed = self.matrix if is_symmetric else _to_torch(matrix.T.tocsr())
        self.register_buffer("transposed", transposed, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``matrix @ x`` of ``x`` ``(m, d)``: ``(n, d)``."""
        with torch.autocast(x.device.type, enabled=False):  # sparse products have no bfloat16
            product: Tensor = _SparseProduct.apply(  # type: ignore[no-untyped-call]
                self.matrix, self.transposed, x.float()
            )
        return product

    def average_layers(self, x: Tensor, layers: int) -> Tensor:
        """Mean of ``x``, ``Ax``, …, ``A^layers x`` (LightGCN, eq. 8) for a square matrix A."""
        total = x
        for _ in range(layers):
            x = self(x)
            total = total + x
        return total / (layers + 1)

    def repeat(self, x: Tensor, layers: int) -> Tensor:
        """``A^layers x`` for a square matrix A."""
        for _ in range(layers):
            x = self(x)
        return x


class _SparseProduct(torch.autograd.Function):
    """``A x`` with a sparse A and its transpose, which torch would compute at every step."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, x: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradient


def normalize_graph(adjacency: csr_matrix) -> csr_matrix:
    """``D^-1/2 A D^-1/2`` of a square ``adjacency`` with the row sums D; empty rows stay empty."""
    scale = diags(inverse_sqrt(np.asarray(adjacency.sum(axis=1)).ravel()))
    return (scale @ adjacency @ scale).tocsr()


def join_user_item_graph(train: csr_matrix, item_graph: csr_matrix | None = None) -> csr_matrix:
    """Adjacency ``(n_users + n_items, n_users + n_items)`` of the interactions.

    Args:
        train: ``(n_users, n_items)``.
        item_graph: edges between items ``(n_items, n_items)``; none by default.
    """
    n_users, n_items = train.shape
    no_users = csr_matrix((n_users, n_users), dtype=np.float32)
    items = csr_matrix((n_items, n_items), dtype=np.float32) if item_graph is None else item_graph
    return bmat([[no_users, train], [train.T, items]], format="csr")


def user_item_operator(train: csr_matrix) -> SparseOperator:
    """The normalized adjacency of the interactions ``train`` ``(n_users, n_items)``."""
    return SparseOperator(normalize_graph(join_user_item_graph(train)), is_symmetric=True)


def _to_torch(matrix: csr_matrix) -> Tensor:
    matrix.sort_indices()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            check_invariants=False,
        )
