"""Implicit alternating least squares (Hu et al., ICDM 2008), regularised as in Rendle et al., RecSys 2022."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.config import Config, IALSConfig
from ld4mrec_cli.errors import UserError

NUMBERS_AT_A_TIME = 2**24
"""Numbers that the gathered vectors, and the systems of a group of rows, may each hold."""


class IALS:
    """Squared error over all cells, an unobserved one weighing α₀; vectors solved for in turn, in closed form.

    A user's vector is solved from the row that is scored, so that any history can be served.
    """

    def __init__(self, items: Tensor, settings: IALSConfig) -> None:
        """``items``: item vectors ``(n_items, factors)`` float32."""
        self.items = items
        self.settings = settings

    @classmethod
    def fit(cls, train: csr_matrix, config: Config) -> Self:
        """Alternate over users and items, from item vectors drawn from ``training.seed``."""
        settings = config.ials
        rng = np.random.default_rng(config.training.seed)
        drawn = rng.normal(scale=0.1 / np.sqrt(settings.factors), size=(train.shape[1], settings.factors))
        items, columns = torch.from_numpy(drawn.astype(np.float32)), train.T.tocsr()
        for _ in range(settings.iterations):
            users = solve(train, items, settings)
            items = solve(columns, users, settings)
        return cls(items, settings)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], config: Config) -> Self:
        """Restore from :meth:`arrays`."""
        return cls(torch.from_numpy(arrays["items"]), config.ials)

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`ld4mrec_cli.baselines.registry.Baseline`."""
        return {"items": self.items.numpy()}

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Solve the rows' vectors and multiply them with the items' ``(n, n_items)``."""
        return solve(rows, self.items, self.settings) @ self.items.T


def solve(rows: csr_matrix, other: Tensor, settings: IALSConfig) -> Tensor:
    """Vectors ``(n, factors)`` of ``rows`` ``(n, n_other)`` given the ``other`` side's ``(n_other, factors)``.

    A row with the set S of interactions solves
    ``(α₀ Σ v vᵀ + Σ_S v vᵀ + λ (|S| + α₀ n_other)^ν I) w = Σ_S v``; one without interactions is zero.

    Raises:
        UserError: the ridge is too small for the precision of the numbers.
    """
    alpha = settings.unobserved_weight
    shared = alpha * (other.T @ other)
    degree = np.diff(rows.indptr)
    ridge = settings.regularisation * (degree + alpha * rows.shape[1]) ** settings.frequency_exponent
    out = other.new_zeros(rows.shape[0], other.shape[1])
    for chosen in _groups(degree, other.shape[1]):
        index, valid = _padded(rows, chosen, degree)
        vectors = other[index] * valid.unsqueeze(2)
        system = torch.baddbmm(shared.expand(len(chosen), -1, -1), vectors.transpose(1, 2), vectors)
        system.diagonal(dim1=1, dim2=2).add_(torch.from_numpy(ridge[chosen]).float().unsqueeze(1))
        factor, failed = torch.linalg.cholesky_ex(system)
        if bool(failed.any()):
            raise UserError("the equations of ials have no unique solution", hint="Raise ials.regularisation")
        out[torch.from_numpy(chosen)] = torch.cholesky_solve(vectors.sum(dim=1).unsqueeze(2), factor).squeeze(2)
    return out


def _groups(degree: np.ndarray, factors: int) -> Iterator[np.ndarray]:
    """Rows with interactions in groups of like degree, so that padding and memory stay bounded."""
    order = np.argsort(degree, kind="stable")[np.count_nonzero(degree == 0) :]
    while len(order):
        size = 1
        while size < len(order) and _numbers(2 * size, degree[order[: 2 * size]][-1], factors) <= NUMBERS_AT_A_TIME:
            size *= 2
        yield order[:size]
        order = order[size:]


def _numbers(n_rows: int, longest: int, factors: int) -> int:
    """Size of the larger of the gathered vectors and the systems of ``n_rows`` rows."""
    return n_rows * factors * max(int(longest), factors)


def _padded(rows: csr_matrix, chosen: np.ndarray, degree: np.ndarray) -> tuple[Tensor, Tensor]:
    """Column indices of the ``chosen`` rows ``(n, longest)``, and which of them are no padding."""
    longest = int(degree[chosen].max())
    valid = np.arange(longest) < degree[chosen, None]
    index = np.zeros(valid.shape, dtype=np.int64)
    index[valid] = rows[chosen].indices
    return torch.from_numpy(index), torch.from_numpy(valid.astype(np.float32))
