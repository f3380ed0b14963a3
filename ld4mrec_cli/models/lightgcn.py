"""LightGCN (He et al., SIGIR 2020)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags
from torch import Tensor, nn

from ld4mrec_cli.models.lightgcn_settings import LightGCNConfig
from ld4mrec_cli.models.ops.init import init_normal
from ld4mrec_cli.models.ops.item_bases import inverse_sqrt
from ld4mrec_cli.models.pairwise import PairwiseRecommender, half_square


class LightGCN(PairwiseRecommender):
    """User and item vectors, averaged over the layers of a graph convolution without weights."""

    item_bias: Tensor

    def __init__(self, train: csr_matrix, factors: int, layers: int, regularization: float) -> None:
        super().__init__(train, regularization)
        self.layers = layers
        self.vectors = nn.Parameter(torch.empty(self.n_users + self.n_items, factors))
        self.user_to_item, self.item_to_user = _graph(train)
        self.register_buffer("item_bias", torch.zeros(self.n_items), persistent=False)

    @classmethod
    def build(
        cls,
        train: csr_matrix,
        settings: LightGCNConfig,
        features: Mapping[str, np.ndarray],
        seed: int,
    ) -> Self:
        """Make an untrained model; the vectors are drawn from ``seed``."""
        model = cls(train, settings.factors, settings.layers, settings.regularization)
        init_normal(model, seed)
        return model

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move the sparse graph along with the parameters."""
        moved = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = self.vectors.device
        self.user_to_item = self.user_to_item.to(device)
        self.item_to_user = self.item_to_user.to(device)
        return moved

    def embed(self) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`ld4mrec_cli.models.pairwise.PairwiseRecommender`."""
        device = self.vectors.device.type
        with torch.autocast(device, enabled=False):  # sparse products have no bfloat16
            users, items = self.vectors[: self.n_users], self.vectors[self.n_users :]
            user_sum, item_sum = users, items
            for _ in range(self.layers):
                users, items = self._to_users(items), self._to_items(users)
                user_sum, item_sum = user_sum + users, item_sum + items
        return user_sum / (self.layers + 1), item_sum / (self.layers + 1), self.item_bias

    def _to_users(self, items: Tensor) -> Tensor:
        return _sparse_product(self.item_to_user, self.user_to_item, items)

    def _to_items(self, users: Tensor) -> Tensor:
        return _sparse_product(self.user_to_item, self.item_to_user, users)

    def penalty(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """See :class:`ld4mrec_cli.models.pairwise.PairwiseRecommender`."""
        return half_square(
            self.vectors[users],
            self.vectors[items + self.n_users],
            self.vectors[others + self.n_users],
        )


class _SparseProduct(torch.autograd.Function):
    """``A x`` with a sparse A and its transpose, which torch would compute at every step."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, x: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradient


def _sparse_product(matrix: Tensor, transposed: Tensor, x: Tensor) -> Tensor:
    product: Tensor = _SparseProduct.apply(matrix, transposed, x)  # type: ignore[no-untyped-call]
    return product


def _graph(train: csr_matrix) -> tuple[Tensor, Tensor]:
    """``D_i^-1/2 Xᵀ D_u^-1/2`` ``(n_items, n_users)`` and its transpose, sparse."""
    user_scale = diags(inverse_sqrt(np.asarray(train.sum(axis=1)).ravel()))
    item_scale = diags(inverse_sqrt(np.asarray(train.sum(axis=0)).ravel()))
    normalized = (user_scale @ train @ item_scale).tocsr()
    return _sparse(normalized.T.tocsr()), _sparse(normalized)


def _sparse(matrix: csr_matrix) -> Tensor:
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
