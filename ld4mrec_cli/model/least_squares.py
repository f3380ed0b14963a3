"""Implicit alternating least squares (Hu et al., ICDM 2008), regularised as in Rendle et al., RecSys 2022."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.config import IALSConfig
from ld4mrec_cli.errors import UserError

NUMBERS_AT_A_TIME = 2**24
"""Numbers that the gathered vectors, and the systems of a group of rows, may each hold."""


def fit_items(train: csr_matrix, settings: IALSConfig, seed: int) -> Tensor:
    """Item vectors ``(n_items, factors)`` float32 of ``train`` ``(n_users, n_items)``, alternating from drawn ones."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(scale=0.1 / np.sqrt(settings.factors), size=(train.shape[1], settings.factors))
    items, columns = torch.from_numpy(drawn.astype(np.float32)), train.T.tocsr()
    for _ in range(settings.iterations):
        users = solve(train, items, settings)
        items = solve(columns, users, settings)
    return items


def solve(rows: csr_matrix, other: Tensor, settings: IALSConfig) -> Tensor:
    """Vectors ``(n, factors)`` of ``rows`` ``(n, n_other)`` given the ``other`` side's ``(n_other, factors)``.

    A row with the set S of interactions solves
    ``(α₀ Σ v vᵀ + Σ_S v vᵀ + λ (|S| + α₀ n_other)^ν I) w = Σ_S v``; one without interactions is zero.

    Raises:
        UserError: the ridge is too small for the precision of the numbers.
    """
    alpha, factors = settings.unobserved_weight, other.shape[1]
    shared = (alpha * (other.T @ other)).double()
    degree = np.diff(rows.indptr)
    out = other.new_zeros(rows.shape[0], factors)
    for size, chosen in _groups(degree, factors):
        ridge = settings.regularisation * (size + alpha * rows.shape[1]) ** settings.frequency_exponent
        vectors = other[torch.from_numpy(rows[chosen].indices.reshape(len(chosen), size).astype(np.int64))]
        base = shared + ridge * torch.eye(factors, dtype=torch.float64)
        step = _solve_short if size < factors else _solve_long
        out[torch.from_numpy(chosen)] = step(base, vectors)
    return out


def _solve_long(base: Tensor, vectors: Tensor) -> Tensor:
    """Solve ``(base + VᵀV) w = Vᵀ1`` for V ``(n, size, factors)`` directly."""
    shared = base.to(vectors.dtype).expand(len(vectors), -1, -1)
    factor = _cholesky(torch.baddbmm(shared, vectors.transpose(1, 2), vectors))
    return torch.cholesky_solve(vectors.sum(dim=1).unsqueeze(2), factor).squeeze(2)


def _solve_short(base: Tensor, vectors: Tensor) -> Tensor:
    """The same for V of few rows, by Woodbury's identity: ``w = M Vᵀ (I + V M Vᵀ)⁻¹ 1`` with ``M = base⁻¹``."""
    inverse = torch.cholesky_inverse(_cholesky(base)).to(vectors.dtype)
    spread = vectors @ inverse
    small = torch.baddbmm(torch.eye(vectors.shape[1]).expand(len(vectors), -1, -1), spread, vectors.transpose(1, 2))
    weights = torch.cholesky_solve(torch.ones(*vectors.shape[:2], 1), _cholesky(small))
    return (spread.transpose(1, 2) @ weights).squeeze(2)


def _cholesky(system: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(system)
    if bool(failed.any()):
        raise UserError(
            "the equations of ials have no unique solution",
            hint="Raise ials.regularisation (of LD4MRec: model.factor_scores_ridge)",
        )
    return factor


def _groups(degree: np.ndarray, factors: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of one degree at a time, as many as memory is bounded for; rows without interactions are left out."""
    order = np.argsort(degree, kind="stable")
    sizes, starts = np.unique(degree[order], return_index=True)
    for size, same in zip(sizes.tolist(), np.split(order, starts[1:]), strict=True):
        at_a_time = max(1, NUMBERS_AT_A_TIME // (factors * max(size, factors)))
        for start in range(0, len(same) if size else 0, at_a_time):
            yield size, same[start : start + at_a_time]
