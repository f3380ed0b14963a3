"""Implicit alternating least squares (Hu et al., ICDM 2008; Rendle et al., RecSys 2022)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.ops.sparse_rows import is_binary
from ld4mrec_cli.utils.errors import UserError

GROUP_CHUNK_SIZE = 2**24
"""Maximum size of the gathered vectors, and of the linear systems, of a group of rows."""
VECTOR_CHUNK_SIZE = 2**16
"""Vectors that are converted to float64 at a time."""


def fit_item_factors(train: csr_matrix, settings: IALSConfig, seed: int) -> Tensor:
    """Item vectors ``(n_items, factors)`` float32 of interactions ``train`` ``(n_users, n_items)``.

    The first item vectors are drawn from ``seed``; then users and items are solved in turn.

    Raises:
        UserError: see :meth:`LeastSquares.solve`.
    """
    shape = (train.shape[1], settings.factors)
    initial = np.random.default_rng(seed).normal(scale=0.1 / np.sqrt(shape[1]), size=shape)
    items, columns = torch.from_numpy(initial.astype(np.float32)), train.T.tocsr()
    for _ in range(settings.iterations):
        users = LeastSquares(items, settings).solve(train)
        items = LeastSquares(users, settings).solve(columns)
    return items


class LeastSquares:
    """Solves the vectors of users from those of items, or the other way round.

    The part of all rows, ``α₀ Σ v vᵀ = Q S Qᵀ``, is decomposed once. In the basis Q it is diagonal,
    also with the ridge of a row.
    """

    def __init__(self, other: Tensor, settings: IALSConfig) -> None:
        """``other``: vectors of the other side ``(n_other, factors)`` float32.

        Raises:
            UserError: the vectors are not finite.
        """
        self._settings = settings.settled
        try:  # in float64: small eigenvalues would be noise in float32
            weight = self._settings.unobserved_weight
            squares, basis = torch.linalg.eigh(weight * _gram(other))
        except RuntimeError:  # by LAPACK, for vectors that are not finite
            raise _no_solution() from None
        self._shared, self._basis = squares.clamp_min(0.0), basis.to(other.dtype)
        chunks = other.split(VECTOR_CHUNK_SIZE)
        self._vectors = torch.cat([(chunk.double() @ basis).to(other.dtype) for chunk in chunks])

    def solve(self, rows: csr_matrix) -> Tensor:
        """Vectors ``(n, factors)`` of ``rows`` ``(n, n_other)``.

        A row with the set S of interactions, of weights c, solves
        ``(α₀ Σ v vᵀ + Σ_S c v vᵀ + λ (Σ_S c + α₀ n_other)^ν I) w = Σ_S c v``. The vector of an
        empty row is zero.

        Raises:
            UserError: the ridge is too small for float32.
        """
        factors = self._vectors.shape[1]
        solution = self._vectors.new_zeros(rows.shape[0], factors)
        for size, group in _groups(np.diff(rows.indptr), factors):
            chosen = rows[group]
            items = chosen.indices.reshape(-1, size).astype(np.int64)
            vectors = self._vectors[torch.from_numpy(items)]
            weights = _weights(chosen, size)
            if weights is None:
                diagonal, roots = self._diagonal(size, rows.shape[1]), None
            else:
                total = weights.sum(dim=1, keepdim=True, dtype=torch.float64)
                diagonal, roots = self._diagonal(total, rows.shape[1]), weights.sqrt()
            solve = _solve_woodbury if size < factors else _solve_direct
            solution[torch.from_numpy(group)] = solve(diagonal, vectors, roots)
        return solution @ self._basis.T

    def solve_parts(self, row: csr_matrix) -> Tensor:
        """Parts ``(h, factors)`` of the vector of a row, one for each of its h interactions.

        They add up to :meth:`solve`: the right side of its equation is the sum of the items'
        vectors, so an item's part is ``A⁻¹ c v`` with the left side A (Hu et al., section 5).

        Raises:
            UserError: see :meth:`solve`.
        """
        vectors = self._vectors[torch.from_numpy(row.indices.astype(np.int64))]
        total: float = len(vectors)
        weights = _weights(row, row.nnz)
        if weights is not None:
            total, roots = float(weights.double().sum()), weights.sqrt().T
            vectors = vectors * roots
        diagonal = self._diagonal(total, row.shape[1]).to(vectors.dtype)
        if len(vectors) < vectors.shape[1]:  # A⁻¹ Vᵀ = D⁻¹ Vᵀ (I + V D⁻¹ Vᵀ)⁻¹
            scaled = vectors / diagonal
            system = torch.eye(len(vectors)) + scaled @ vectors.T
            parts = torch.cholesky_solve(scaled, _cholesky(system))
        else:
            system = torch.diag(diagonal) + vectors.T @ vectors
            parts = torch.cholesky_solve(vectors.T, _cholesky(system)).T
        return (parts if weights is None else parts * roots) @ self._basis.T

    def _diagonal(self, total: float | Tensor, n_other: int) -> Tensor:
        """Diagonal of the shared part and the ridge of rows with a ``total`` weight.

        ``total`` is one number, or ``(n, 1)``; the result is ``(factors,)`` or ``(n, factors)``.

        Raises:
            UserError: the ridge is too small for float32.
        """
        settings = self._settings
        frequency = total + settings.unobserved_weight * n_other
        diagonal = self._shared + settings.regularization * frequency**settings.frequency_exponent
        least, most = diagonal.amin(dim=-1), diagonal.amax(dim=-1)
        if bool((least <= torch.finfo(diagonal.dtype).eps * most).any()):
            raise _no_solution()
        return diagonal


def _gram(vectors: Tensor) -> Tensor:
    """``VᵀV`` in float64, without a copy of all of V."""
    total = torch.zeros(vectors.shape[1], vectors.shape[1], dtype=torch.float64)
    for chunk in vectors.split(VECTOR_CHUNK_SIZE):
        double = chunk.double()
        total += double.T @ double
    return total


def _weights(rows: csr_matrix, size: int) -> Tensor | None:
    """Weights ``(n, size)`` of rows with ``size`` interactions each; None where all are 1."""
    if is_binary(rows):
        return None
    return torch.from_numpy(rows.data.reshape(-1, size).astype(np.float32))


def _solve_direct(diagonal: Tensor, vectors: Tensor, roots: Tensor | None) -> Tensor:
    """Solve ``(D + VᵀCV) w = VᵀC1`` by Cholesky.

    ``diagonal`` ``(factors,)`` or ``(n, factors)`` is that of D, ``vectors`` ``(n, size, factors)``
    are V of n rows, ``roots`` ``(n, size)`` the roots of the weights C; None: they are 1.
    """
    shared = torch.diag_embed(diagonal.to(vectors.dtype)).expand(len(vectors), -1, -1)
    if roots is None:
        right = vectors.sum(dim=1).unsqueeze(2)
    else:
        vectors = vectors * roots.unsqueeze(2)
        right = vectors.transpose(1, 2) @ roots.unsqueeze(2)
    factor = _cholesky(torch.baddbmm(shared, vectors.transpose(1, 2), vectors))
    return torch.cholesky_solve(right, factor).squeeze(2)


def _solve_woodbury(diagonal: Tensor, vectors: Tensor, roots: Tensor | None) -> Tensor:
    """:func:`_solve_direct` for small ``size``: ``w = D⁻¹ Vᵀ (I + V D⁻¹ Vᵀ)⁻¹ 1`` (Woodbury).

    With weights, V is ``C^½ V`` and 1 is ``C^½ 1``.
    """
    right = torch.ones(*vectors.shape[:2], 1) if roots is None else roots.unsqueeze(2)
    vectors = vectors if roots is None else vectors * right
    inverse = diagonal.reciprocal().to(vectors.dtype)
    scaled = vectors * (inverse if roots is None else inverse.unsqueeze(1))
    identity = torch.eye(vectors.shape[1]).expand(len(vectors), -1, -1)
    system = torch.baddbmm(identity, scaled, vectors.transpose(1, 2))
    weights = torch.cholesky_solve(right, _cholesky(system))
    return (scaled.transpose(1, 2) @ weights).squeeze(2)


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
    """Degree and indices of groups of rows with the same degree, of bounded size.

    ``degree`` ``(n,)`` are the interactions of each row; rows without any are in no group.
    """
    if not len(degree):
        return
    order = np.argsort(degree, kind="stable")
    sizes, starts = np.unique(degree[order], return_index=True)
    for size, rows in zip(sizes.tolist(), np.split(order, starts[1:]), strict=True):
        chunk_size = max(1, GROUP_CHUNK_SIZE // (factors * max(size, factors)))
        for start in range(0, len(rows) if size else 0, chunk_size):
            yield size, rows[start : start + chunk_size]
