"""Guidance signals: item bases, computed once from the training interactions and the item features.

Each signal k has an item basis ``G_k`` ``(n_items, r_k)``: ``collaborative`` has the singular vectors V,
a modality its features. The guidance of a row is linear in the row and then normalised, so it exists
for any row: ``g_k(x) = unit(Σ_i x_i / √d_i · G_k,i)``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy import linalg
from scipy.sparse import csr_matrix, diags
from torch import Tensor, nn

from ld4mrec_cli.errors import UserError
from ld4mrec_cli.model.rows import Rows, unit

COLLABORATIVE = "collaborative"
ECONOMICAL_ABOVE = 20_000
"""Items above which the collaborative basis is computed in float32 and with fewer iterations: its first vectors are as
good, the last ones a little less, in a third of the time."""


class GuidanceSignals(nn.Module):
    """Item bases, side by side in one matrix, and the scaling by item degree, as buffers."""

    joined: Tensor
    """``[G_1 G_2 …]`` ``(n_items, Σ r_k)``: one pass over a row serves all signals."""
    inverse_sqrt_degree: Tensor

    def __init__(self, bases: Mapping[str, np.ndarray], item_degree: np.ndarray) -> None:
        """``bases``: name → ``(n_items, r_k)``; ``item_degree``: ``(n_items,)``, zero allowed."""
        super().__init__()
        self.widths = {name: basis.shape[1] for name, basis in bases.items()}
        joined = np.concatenate([np.asarray(basis, dtype=np.float32) for basis in bases.values()], axis=1)
        self.register_buffer("joined", torch.from_numpy(joined), persistent=False)
        self._cast: Tensor | None = None
        scale = torch.from_numpy(inverse_sqrt(item_degree).astype(np.float32))
        self.register_buffer("inverse_sqrt_degree", scale, persistent=False)

    def joined_as(self, dtype: torch.dtype) -> Tensor:
        """``joined`` in the type that products are computed in; the copy is kept for the next step."""
        if dtype == self.joined.dtype:
            return self.joined
        if self._cast is None or self._cast.dtype != dtype or self._cast.device != self.joined.device:
            self._cast = self.joined.to(dtype)
        return self._cast

    @property
    def names(self) -> tuple[str, ...]:
        """The signals, in the order of their columns in ``joined``."""
        return tuple(self.widths)

    def basis(self, name: str) -> Tensor:
        """Return ``G_k`` ``(n_items, r_k)``."""
        return self.joined.split(list(self.widths.values()), dim=1)[self.names.index(name)]

    def forward(self, rows: Rows, joined: Tensor | None = None, item_scale: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``g_k(x)`` ``(n, r_k)`` by signal name; an empty row gives zeros.

        ``joined`` and ``item_scale`` stand in for the buffers where the rows are over some of the items alone.
        """
        if joined is None:
            joined, item_scale = self.joined, self.inverse_sqrt_degree
        parts = rows.project(joined, item_scale).split(list(self.widths.values()), dim=1)
        return {name: unit(part) for name, part in zip(self.names, parts, strict=True)}


class ItemWeights(nn.Module):
    """Zero-diagonal item-item weights B applied to a row: ``x B``, as a collaborative signal on the scores."""

    weights: Tensor

    def __init__(self, weights: np.ndarray, scale: float) -> None:
        """``weights``: ``(n_items, n_items)``, row = item interacted with, column = item scored."""
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(np.ascontiguousarray(weights, dtype=np.float32)))
        self.scale = scale
        """What ``x B`` is multiplied with, or where a learned scale starts."""

    def forward(self, rows: Rows) -> Tensor:
        """Return ``x B`` ``(n, n_items)``."""
        return rows.project(self.weights)


def inverse_sqrt(degree: np.ndarray) -> np.ndarray:
    """``1/√d`` with ``0`` where the degree is zero."""
    degree = np.asarray(degree, dtype=np.float64)
    return np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)


def collaborative_basis(train: csr_matrix, rank: int, seed: int) -> np.ndarray:
    """Right singular vectors V ``(n_items, r)`` of ``D_u^-1/2 X D_i^-1/2``, r ≤ ``rank`` (LD4MRec, SVD encoding).

    The rank is bounded by that of the matrix: vectors of singular value zero would give items without
    interactions a random place. The result is a function of the interactions and the seed.
    """
    from sklearn.utils.extmath import randomized_svd  # slow to import, needed in training alone

    degree_u = np.asarray(train.sum(axis=1)).ravel()
    degree_i = np.asarray(train.sum(axis=0)).ravel()
    normalised = diags(inverse_sqrt(degree_u)) @ train.astype(np.float64) @ diags(inverse_sqrt(degree_i))
    rank = min(rank, *train.shape)
    if train.shape[1] > ECONOMICAL_ABOVE:
        return _leading_vectors(normalised.astype(np.float32), rank, seed)
    _, values, vectors = randomized_svd(normalised, rank, n_iter=8, random_state=seed)
    return vectors[values > 1e-7].T  # the largest singular value is 1


def _leading_vectors(matrix: csr_matrix, rank: int, seed: int) -> np.ndarray:
    """Right singular vectors of a large matrix of norm 1, float32 ``(n_items, r)`` (Halko et al. 2011).

    The last step, on a matrix of few rows, goes through its Gram matrix: its full decomposition takes most of the time.
    """
    from sklearn.utils.extmath import randomized_range_finder

    basis = randomized_range_finder(matrix, size=min(rank + 10, *matrix.shape), n_iter=4, random_state=seed)
    small = matrix.T @ basis  # (n_items, rank + 10)
    squares, rotation = linalg.eigh((small.T @ small).astype(np.float64))
    values, rotation = np.sqrt(squares[::-1][:rank].clip(0.0)), rotation[:, ::-1][:, :rank]
    kept = values > 1e-3  # below, the roots of float32 squares are noise
    return small @ (rotation[:, kept] / values[kept]).astype(np.float32)


def modality_basis(features: np.ndarray, max_dim: int) -> np.ndarray:
    """Features ``(n_items, dim)`` standardised per column, reduced by PCA to ``max_dim``, rows to unit length."""
    values = np.asarray(features, dtype=np.float32)
    values = values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = values.std(axis=0, dtype=np.float64).astype(np.float32)
    values = np.divide(values, spread, out=np.zeros_like(values), where=spread > 1e-8)
    if values.shape[1] > max_dim:
        values = values @ principal_axes(values, max_dim)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 1e-12)


def principal_axes(centred: np.ndarray, rank: int) -> np.ndarray:
    """The ``rank`` leading eigenvectors ``(dim, rank)`` of the covariance of centred values ``(n, dim)``."""
    covariance = (centred.T @ centred).astype(np.float64)
    dim = len(covariance)
    _, vectors = linalg.eigh(covariance, subset_by_index=(max(0, dim - rank), dim - 1))
    return vectors[:, ::-1].astype(np.float32)


def ridge_item_weights(
    train: csr_matrix, ridge: float, degree_ridge: float = 0.0, user_exponent: float = 0.0
) -> np.ndarray:
    """Zero-diagonal ridge regression of the items on each other, ``B = I - P / diag(P)``, ``P = (G + Λ)⁻¹``.

    ``G = Xᵀ W X`` with users weighed by ``W ∝ degree^-user_exponent`` (of mean 1 over the interactions) and
    ``Λ = ridge + degree_ridge · diag(G)``. Sources: EASE^R (Steck, WWW 2019, eq. 8), where W = I and Λ = λI;
    EDLAE (Steck, NeurIPS 2020, section 3), whose dropout p is a ``degree_ridge`` of p / (1 - p).
    Returns float32 ``(n_items, n_items)``; time is cubic and memory quadratic in the items.

    Raises:
        UserError: the ridge is too small for the precision of the numbers.
    """
    degree = np.diff(train.indptr)
    weight = np.power(np.maximum(degree, 1.0), -user_exponent)
    weight *= degree.sum() / max(float(weight @ degree), 1e-300)
    gram = (train.T @ diags(weight) @ train).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] = gram.diagonal() * (1.0 + degree_ridge) + ridge
    factor, info = linalg.lapack.dpotrf(gram.T, lower=False, overwrite_a=True)
    inverse, info_inverse = linalg.lapack.dpotri(factor, lower=False, overwrite_c=True)
    if info or info_inverse:
        raise UserError("the item Gram matrix has no inverse in float64", hint="Raise the ridge of the item weights")
    precision = np.triu(inverse).astype(np.float32)
    del gram, factor, inverse
    precision += np.triu(precision, 1).T
    weights = -precision / np.diagonal(precision)
    np.fill_diagonal(weights, 0.0)
    return weights
