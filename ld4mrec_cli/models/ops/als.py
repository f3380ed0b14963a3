"""Implicit alternating least squares (Hu et al., ICDM 2008), regularized as in Rendle et al., RecSys 2022."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.utils.errors import UserError

NUMBERS_CHUNK_SIZE = 2**24
"""Numbers that the gathered vectors, and the systems of a group of rows, may each hold."""
ROWS_CHUNK_SIZE = 2**16
"""Vectors that are widened to float64 at a time."""


def fit_item_factors(train: csr_matrix, settings: IALSConfig, seed: int) -> Tensor:
    """Item vectors ``(n_items, factors)`` float32 of ``train`` ``(n_users, n_items)``, alternating from drawn ones."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(
        scale=0.1 / np.sqrt(settings.factors), size=(train.shape[1], settings.factors)
    )
    items, columns = torch.from_numpy(drawn.astype(np.float32)), train.T.tocsr()
    for _ in range(settings.iterations):
        users = LeastSquares(items, settings).solve(train)
        items = LeastSquares(users, settings).solve(columns)
    return items


class LeastSquares:
    """Solves for the vectors of one side, given those of the other.

    What all rows share, ``α₀ Σ v vᵀ = Q S Qᵀ``, is decomposed once: in the basis Q it is diagonal, whatever ridge a
    row's length adds to it.
    """

    def __init__(self, other: Tensor, settings: IALSConfig) -> None:
        """``other``: vectors ``(n_other, factors)`` float32."""
        self._settings = settings
        try:  # in float64: directions in which the vectors hardly reach would else be noise, and divided by the ridge
            squares, basis = torch.linalg.eigh(settings.unobserved_weight * _gram(other))
        except RuntimeError:  # of LAPACK, for what is not finite
            raise _no_solution() from None
        self._shared, self._basis = squares.clamp_min(0.0), basis.to(other.dtype)
        self._vectors = torch.cat(
            [(part.double() @ basis).to(other.dtype) for part in other.split(ROWS_CHUNK_SIZE)]
        )

    def solve(self, rows: csr_matrix) -> Tensor:
        """Vectors ``(n, factors)`` of ``rows`` ``(n, n_other)``.

        A row with the set S of interactions solves
        ``(α₀ Σ v vᵀ + Σ_S v vᵀ + λ (|S| + α₀ n_other)^ν I) w = Σ_S v``; one without interactions is zero.

        Raises:
            UserError: the ridge is too small for the precision of the numbers.
        """
        settings, factors = self._settings, self._vectors.shape[1]
        solved = self._vectors.new_zeros(rows.shape[0], factors)
        for size, chosen in _groups(np.diff(rows.indptr), factors):
            frequency = size + settings.unobserved_weight * rows.shape[1]
            ridge = settings.regularization * frequency**settings.frequency_exponent
            vectors = self._vectors[
                torch.from_numpy(rows[chosen].indices.reshape(-1, size).astype(np.int64))
            ]
            diagonal = self._shared + ridge
            if diagonal.min() <= torch.finfo(diagonal.dtype).eps * diagonal.max():
                raise _no_solution()
            step = _solve_woodbury if size < factors else _solve_direct
            solved[torch.from_numpy(chosen)] = step(diagonal, vectors)
        return solved @ self._basis.T


def _gram(vectors: Tensor) -> Tensor:
    """``VᵀV`` in float64, without a copy of all of V."""
    total = torch.zeros(vectors.shape[1], vectors.shape[1], dtype=torch.float64)
    for part in vectors.split(ROWS_CHUNK_SIZE):
        wide = part.double()
        total += wide.T @ wide
    return total


def _solve_direct(diagonal: Tensor, vectors: Tensor) -> Tensor:
    """Solve ``(D + VᵀV) w = Vᵀ1`` for V ``(n, size, factors)`` and the ``diagonal`` ``(factors,)`` of D directly."""
    shared = torch.diag(diagonal.to(vectors.dtype)).expand(len(vectors), -1, -1)
    factor = _cholesky(torch.baddbmm(shared, vectors.transpose(1, 2), vectors))
    return torch.cholesky_solve(vectors.sum(dim=1).unsqueeze(2), factor).squeeze(2)


def _solve_woodbury(diagonal: Tensor, vectors: Tensor) -> Tensor:
    """The same for V of few rows, by Woodbury's identity: ``w = D⁻¹ Vᵀ (I + V D⁻¹ Vᵀ)⁻¹ 1``."""
    spread = vectors * diagonal.reciprocal().to(vectors.dtype)
    small = torch.baddbmm(
        torch.eye(vectors.shape[1]).expand(len(vectors), -1, -1), spread, vectors.transpose(1, 2)
    )
    weights = torch.cholesky_solve(torch.ones(*vectors.shape[:2], 1), _cholesky(small))
    return (spread.transpose(1, 2) @ weights).squeeze(2)


def _cholesky(system: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(system)
    if bool(failed.any()):
        raise _no_solution()
    return factor


def _no_solution() -> UserError:
    return UserError(
        "the equations of ials have no unique solution",
        hint="Raise ials.regularization (of LD4MRec: model.ials_ridge)",
    )


def _groups(degree: np.ndarray, factors: int) -> Iterator[tuple[int, np.ndarray]]:
    """SparseRows of one degree at a time, as many as memory is bounded for; rows without interactions are left out."""
    if not len(degree):
        return
    order = np.argsort(degree, kind="stable")
    sizes, starts = np.unique(degree[order], return_index=True)
    for size, same in zip(sizes.tolist(), np.split(order, starts[1:]), strict=True):
        at_a_time = max(1, NUMBERS_CHUNK_SIZE // (factors * max(size, factors)))
        for start in range(0, len(same) if size else 0, at_a_time):
            yield size, same[start : start + at_a_time]
