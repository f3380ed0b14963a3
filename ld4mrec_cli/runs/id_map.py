"""Interactions of one catalog in the indices of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import UNKNOWN


@dataclass(frozen=True)
class IdMap:
    """Where the users and items of one catalog are in another."""

    users: np.ndarray
    """Index of each user there ``(n_users,)`` int64; UNKNOWN where there is none."""
    items: np.ndarray
    """Index of each item there ``(n_items,)`` int64; UNKNOWN where there is none."""
    shape: tuple[int, int]
    """``(n_users, n_items)`` there."""

    def move(self, matrix: csr_matrix) -> csr_matrix:
        """``matrix`` ``(n_users, n_items)`` there, without what that catalog does not have."""
        entries = matrix.tocoo()
        users, items = self.users[entries.row], self.items[entries.col]
        is_known = (users != UNKNOWN) & (items != UNKNOWN)
        where = users[is_known], items[is_known]
        moved = csr_matrix((entries.data[is_known], where), shape=self.shape)
        moved.sort_indices()
        return moved


def subtract(matrix: csr_matrix, other: csr_matrix) -> csr_matrix:
    """The entries of ``matrix`` that ``other``, of the same shape, does not have."""
    is_other = other.astype(bool).astype(matrix.dtype)
    rest = csr_matrix(matrix - matrix.multiply(is_other))
    rest.eliminate_zeros()
    rest.sort_indices()
    return rest
