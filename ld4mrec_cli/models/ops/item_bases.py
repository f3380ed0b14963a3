"""Item bases: singular vectors of the interactions, standardized features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.sparse import csr_matrix, diags

LARGE_CATALOG = 20_000
"""Items above which the truncated SVD is in float32 with fewer iterations.

It takes a third of the time; the first vectors are as good, the last ones slightly worse."""


def inverse_sqrt(degree: np.ndarray) -> np.ndarray:
    """``1/√d`` with ``0`` where the degree is zero."""
    degree = np.asarray(degree, dtype=np.float64)
    return np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)


def collaborative_basis(train: csr_matrix, rank: int, seed: int) -> np.ndarray:
    """Right singular vectors V ``(n_items, r)`` of ``D_u^-1/2 X D_i^-1/2``, r ≤ ``rank``.

    r is at most the rank of the matrix: with vectors of singular value zero, items without
    interactions would have random values. The result depends on the interactions and the seed.
    """
    from sklearn.utils.extmath import randomized_svd  # slow to import, needed in training alone

    user_scale = diags(inverse_sqrt(np.asarray(train.sum(axis=1)).ravel()))
    item_scale = diags(inverse_sqrt(np.asarray(train.sum(axis=0)).ravel()))
    normalized = user_scale @ train.astype(np.float64) @ item_scale
    rank = min(rank, *train.shape)
    if train.shape[1] > LARGE_CATALOG:
        return _leading_vectors(normalized.astype(np.float32), rank, seed)
    _, values, vectors = randomized_svd(normalized, rank, n_iter=8, random_state=seed)
    return vectors[values > 1e-7].T  # the largest singular value is 1


def _leading_vectors(matrix: csr_matrix, rank: int, seed: int) -> np.ndarray:
    """Right singular vectors of a large matrix of norm 1, float32 ``(n_items, r)``.

    Randomized SVD (Halko et al. 2011). The small matrix is decomposed through its Gram matrix,
    because its full decomposition would take most of the time.
    """
    from sklearn.utils.extmath import randomized_range_finder

    size = min(rank + 10, *matrix.shape)
    basis = randomized_range_finder(matrix, size=size, n_iter=4, random_state=seed)
    small = matrix.T @ basis  # (n_items, rank + 10)
    squares, rotation = linalg.eigh((small.T @ small).astype(np.float64))
    values, rotation = np.sqrt(squares[::-1][:rank].clip(0.0)), rotation[:, ::-1][:, :rank]
    is_accurate = values > 1e-3  # smaller roots of float32 squares are noise
    return small @ (rotation[:, is_accurate] / values[is_accurate]).astype(np.float32)


@dataclass(frozen=True)
class FeatureScaler:
    """Standardizes columns: mean 0 and deviation 1; constant columns become 0."""

    mean: np.ndarray
    """``(dim,)`` float32."""
    deviation: np.ndarray
    """``(dim,)`` float32."""

    @classmethod
    def fit(cls, features: np.ndarray) -> FeatureScaler:
        """Scaler of the columns of ``features`` ``(n, dim)``."""
        values = np.asarray(features, dtype=np.float32)
        mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(mean, (values - mean).std(axis=0, dtype=np.float64).astype(np.float32))

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Standardized features ``(n, dim)`` float32."""
        values = np.asarray(features, dtype=np.float32) - self.mean
        is_used = self.deviation > 1e-8
        return np.divide(values, self.deviation, out=np.zeros_like(values), where=is_used)


def modality_basis(features: np.ndarray, max_dim: int) -> np.ndarray:
    """Standardize the columns of ``features`` ``(n_items, dim)``, reduce them, normalize the rows.

    More than ``max_dim`` columns are reduced to ``max_dim`` by PCA. Returns float32.
    """
    values = FeatureScaler.fit(features).transform(features)
    if values.shape[1] > max_dim:
        values = values @ principal_axes(values, max_dim)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 1e-12)


def join_features(
    features: Mapping[str, np.ndarray],
    weight: float | Mapping[str, float],
    max_dim: int | None = None,
) -> np.ndarray | None:
    """Put the standardized features of all modalities side by side.

    Args:
        features: modality → item features ``(n_items, dim)``.
        weight: weight a of every modality, or by modality; others have none.
        max_dim: a modality with more columns is reduced to this number; None: none is.

    Returns:
        C ``(n_items, Σ dim)`` float32 with ``C Cᵀ = Σ_m a_m F_m F_mᵀ``, where rows of F have length
        1; None without any weight.
    """
    weights = weight if isinstance(weight, Mapping) else dict.fromkeys(features, weight)
    parts = [
        modality_basis(values, max_dim or values.shape[1]) * np.float32(np.sqrt(weights[name]))
        for name, values in features.items()
        if weights.get(name, 0.0) > 0.0
    ]
    return np.concatenate(parts, axis=1) if parts else None


def principal_axes(centered: np.ndarray, rank: int) -> np.ndarray:
    """The leading eigenvectors ``(dim, rank)`` of the covariance of ``centered`` ``(n, dim)``.

    Their signs depend on the machine and its threads, see :func:`orient_axes`.
    """
    covariance = (centered.T @ centered).astype(np.float64)
    dim = len(covariance)
    _, vectors = linalg.eigh(covariance, subset_by_index=(max(0, dim - rank), dim - 1))
    return vectors[:, ::-1].astype(np.float32)


def orient_axes(axes: np.ndarray) -> np.ndarray:
    """Axes ``(dim, rank)`` with signs such that the largest component of each is positive.

    For what is learned on axes and used on the same axes, computed again.
    """
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    return axes * np.sign(largest)
