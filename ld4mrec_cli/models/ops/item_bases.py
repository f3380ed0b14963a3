"""Item bases: singular vectors of the interactions, standardized features."""

from __future__ import annotations

import numpy as np
from scipy import linalg
from scipy.sparse import csr_matrix, diags

ECONOMICAL_ABOVE = 20_000
"""Items above which the collaborative basis is computed in float32 and with fewer iterations: its first vectors are as
good, the last ones a little less, in a third of the time."""


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
    normalized = (
        diags(inverse_sqrt(degree_u)) @ train.astype(np.float64) @ diags(inverse_sqrt(degree_i))
    )
    rank = min(rank, *train.shape)
    if train.shape[1] > ECONOMICAL_ABOVE:
        return _leading_vectors(normalized.astype(np.float32), rank, seed)
    _, values, vectors = randomized_svd(normalized, rank, n_iter=8, random_state=seed)
    return vectors[values > 1e-7].T  # the largest singular value is 1


def _leading_vectors(matrix: csr_matrix, rank: int, seed: int) -> np.ndarray:
    """Right singular vectors of a large matrix of norm 1, float32 ``(n_items, r)`` (Halko et al. 2011).

    The last step, on a matrix of few rows, goes through its Gram matrix: its full decomposition takes most of the time.
    """
    from sklearn.utils.extmath import randomized_range_finder

    basis = randomized_range_finder(
        matrix, size=min(rank + 10, *matrix.shape), n_iter=4, random_state=seed
    )
    small = matrix.T @ basis  # (n_items, rank + 10)
    squares, rotation = linalg.eigh((small.T @ small).astype(np.float64))
    values, rotation = np.sqrt(squares[::-1][:rank].clip(0.0)), rotation[:, ::-1][:, :rank]
    kept = values > 1e-3  # below, the roots of float32 squares are noise
    return small @ (rotation[:, kept] / values[kept]).astype(np.float32)


def modality_basis(features: np.ndarray, max_dim: int) -> np.ndarray:
    """Features ``(n_items, dim)`` standardized per column, reduced by PCA to ``max_dim``, rows to unit length."""
    values = np.asarray(features, dtype=np.float32)
    values = values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = values.std(axis=0, dtype=np.float64).astype(np.float32)
    values = np.divide(values, spread, out=np.zeros_like(values), where=spread > 1e-8)
    if values.shape[1] > max_dim:
        values = values @ principal_axes(values, max_dim)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 1e-12)


def principal_axes(centered: np.ndarray, rank: int) -> np.ndarray:
    """The ``rank`` leading eigenvectors ``(dim, rank)`` of the covariance of centered values ``(n, dim)``."""
    covariance = (centered.T @ centered).astype(np.float64)
    dim = len(covariance)
    _, vectors = linalg.eigh(covariance, subset_by_index=(max(0, dim - rank), dim - 1))
    return vectors[:, ::-1].astype(np.float32)
