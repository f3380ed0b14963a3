"""EASE for large catalogs: the inverse of the Gram matrix as a sparse matrix plus a low rank.

Without content, ``(Xᵀ W X + Λ)⁻¹`` is close to a sparse matrix, whose columns are solved each on
the items nearest to it. Content adds a matrix of low rank, which is inverted exactly on top of it.
No matrix of items × items is ever formed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import torch
from scipy.linalg import eigh, lapack
from scipy.sparse import csc_matrix, csr_matrix, diags
from threadpoolctl import threadpool_limits

from ld4mrec_cli.models.ops.ridge import no_inverse, weigh_users
from ld4mrec_cli.models.ops.sparse_low_rank import SparseLowRank
from ld4mrec_cli.models.ops.sparse_rows import root_weights

BLOCK_ENTRIES = 2**22
"""Most entries of the Gram matrix that a thread has in memory, but at least those of one item."""
BLOCK_ITEMS = 256
"""Most items that a thread takes at a time."""


@dataclass(frozen=True)
class ItemGram:
    """``A = Xᵀ W X + Λ``, of which parts are computed when they are needed."""

    rows: csr_matrix
    """``(W^½ X)ᵀ`` ``(n_items, n_users)`` float64."""
    columns: csr_matrix
    """``W^½ X`` ``(n_users, n_items)`` float64."""
    ridge: np.ndarray
    """Λ ``(n_items,)``."""

    @classmethod
    def of(cls, train: csr_matrix, ridge: float, degree_ridge: float, user_exponent: float) -> Self:
        """Arguments of :func:`fit_sparse_ease`."""
        scale = diags(np.sqrt(weigh_users(train, user_exponent)))
        columns = (scale @ root_weights(train).astype(np.float64)).tocsr()
        rows = columns.T.tocsr()
        return cls(rows, columns, ridge + degree_ridge * _squared_norms(rows))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.ridge)

    @cached_property
    def diagonal(self) -> np.ndarray:
        """Diagonal of A ``(n_items,)``."""
        return self.ridge + _squared_norms(self.rows)

    def gram_rows(self, block: slice) -> csr_matrix:
        """Rows of ``Xᵀ W X`` ``(block, n_items)``, sparse, with sorted indices."""
        gram = self.rows[block] @ self.columns
        gram.sort_indices()
        return gram

    def system(self, items: np.ndarray) -> np.ndarray:
        """Rows and columns of A of some items ``(m, m)``."""
        rows = self.rows[items]
        system: np.ndarray = (rows @ rows.T).toarray()
        system[np.diag_indices_from(system)] += self.ridge[items]
        return system

    def blocks(self) -> list[slice]:
        """Consecutive items whose rows of ``Xᵀ W X`` have a bounded number of entries."""
        most = np.minimum(self.rows.astype(bool) @ np.diff(self.columns.indptr), self.n_items)
        starts, total = [0], 0
        for item, entries in enumerate(most.tolist()):
            total += entries
            if item > starts[-1] and (total > BLOCK_ENTRIES or item - starts[-1] >= BLOCK_ITEMS):
                starts.append(item)
                total = entries
        return [slice(*span) for span in pairwise([*starts, self.n_items])]


def fit_sparse_ease(
    train: csr_matrix,
    ridge: float,
    degree_ridge: float = 0.0,
    user_exponent: float = 0.0,
    content: np.ndarray | None = None,
    neighbors: int = 400,
) -> SparseLowRank:
    """EASE weights as of :func:`ld4mrec_cli.models.ops.ridge.fit_ease`, without items × items.

    1. ``A = Xᵀ W X + Λ``. Column j of ``S ≈ A⁻¹`` solves ``A S_j = e_j`` over the item and its
       neighbors, and is zero elsewhere; then S is made symmetric, ``(S + Sᵀ) / 2``.
    2. ``P = (A + C Cᵀ)⁻¹ = S - S C (I + Cᵀ S C)⁻¹ Cᵀ S`` (Woodbury's identity).
    3. ``B = I - P / diag(P)``: the sparse part of S, and a part of the rank of C.

    The neighbors of item j are the items k of the largest ``G_kj² / A_kk``, by which k alone lowers
    the squared error of item j. With all items as neighbors, B is exact.

    Sources: sparse approximate inverses for EASE, SANSA (Spišák et al., RecSys 2023); inverses on a
    given pattern (Kolotilina and Yeremin, SIAM J. Matrix Anal. Appl. 1993).

    Args:
        train: interactions ``(n_users, n_items)``, which may have weights.
        ridge: λ of every item.
        degree_ridge: ridge in proportion to the weighted interactions of the item.
        user_exponent: 0 gives all users the same weight.
        content: weighted features of the items C ``(n_items, dim)``, or None.
        neighbors: most items that an item is solved on.

    Returns:
        B ``(n_items, n_items)``, row = item interacted with, column = item scored.

    Raises:
        UserError: the ridge is too small for float64.
    """
    gram = ItemGram.of(train, ridge, degree_ridge, user_exponent)
    inverse, diagonal = _invert(gram, neighbors)
    left = np.zeros((gram.n_items, 0))
    if content is not None:
        values = content.astype(np.float64)
        left = _content_factor(inverse, diagonal, values)
        least = 1.0 / (gram.diagonal + _squared_norms(values))  # of any inverse of A + C Cᵀ
        diagonal = np.maximum(diagonal - _squared_norms(left), least)
    sparse = (inverse @ diags(-1.0 / diagonal)).tocsr().astype(np.float32)
    right = left / diagonal[:, None]
    return SparseLowRank(sparse, left.astype(np.float32), right.astype(np.float32))


def _content_factor(inverse: csr_matrix, diagonal: np.ndarray, content: np.ndarray) -> np.ndarray:
    """U ``(n_items, dim)`` with ``U Uᵀ = S C (I + Cᵀ S C)⁻¹ Cᵀ S``.

    S are ``inverse`` off the diagonal, and ``diagonal``.
    """
    product = inverse @ content + diagonal[:, None] * content
    values, basis = eigh(content.T @ product)
    # S is not exact: a negative value, where there is one, is an error of it.
    return np.asarray(product @ (basis / np.sqrt(1.0 + values.clip(0.0))))


def _invert(gram: ItemGram, neighbors: int) -> tuple[csr_matrix, np.ndarray]:
    """``S ≈ A⁻¹``: its entries off the diagonal, symmetric, and its diagonal ``(n_items,)``."""
    # The systems are small: a thread for each block, and none inside it.
    n_threads = torch.get_num_threads()
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_threads) as pool:
        parts = pool.map(lambda block: _solve_block(gram, block, neighbors), gram.blocks())
        columns = [column for part in parts for column in part]
    pointers = np.cumsum([0, *(len(column.items) for column in columns)])
    indices = np.concatenate([column.items for column in columns])
    data = np.concatenate([column.values for column in columns])
    half = csc_matrix((data, indices, pointers), shape=(gram.n_items,) * 2)
    return (half + half.T).tocsr(), np.array([column.own for column in columns])


class _Column(NamedTuple):
    """A column of S."""

    items: np.ndarray
    """``(m,)`` int32, ascending, without the item itself."""
    values: np.ndarray
    """Half of the entries of ``items`` ``(m,)``."""
    own: float
    """The entry on the diagonal."""


def _solve_block(gram: ItemGram, block: slice, neighbors: int) -> list[_Column]:
    """Columns of S of the items of ``block``."""
    rows = gram.gram_rows(block)
    return [
        _solve(gram, block.start + i, *_find_neighbors(gram, rows, i, block.start + i, neighbors))
        for i in range(rows.shape[0])
    ]


def _find_neighbors(
    gram: ItemGram, rows: csr_matrix, i: int, item: int, neighbors: int
) -> tuple[np.ndarray, np.ndarray]:
    """The neighbors of ``item`` ``(m,)``, ascending, of ties the lower, and ``G_kj`` of each.

    ``rows`` are rows of G; ``i`` is the one of ``item``.
    """
    span = slice(rows.indptr[i], rows.indptr[i + 1])
    items, values = rows.indices[span], rows.data[span]
    is_other = items != item
    items, values = items[is_other], values[is_other]
    if neighbors >= gram.n_items - 1:  # also those that have no user in common with it
        every = np.zeros(gram.n_items)
        every[items] = values
        items = np.delete(np.arange(gram.n_items), item)
        return items, every[items]
    if len(items) > neighbors:
        gains = np.square(values) / gram.diagonal[items]
        best = np.sort(np.argsort(-gains, kind="stable")[:neighbors])
        items, values = items[best], values[best]
    return items, values


def _solve(gram: ItemGram, item: int, items: np.ndarray, target: np.ndarray) -> _Column:
    """The column of ``item``, by the regression of the item on ``items`` ``(m,)``.

    With its weights b the column is ``[1, -b] / (A_jj - G_j·b)``. ``target`` ``(m,)`` is ``G_j``.
    """
    weights = np.empty(0)
    if len(items):
        _, weights, info = lapack.dposv(gram.system(items).T, target, lower=True, overwrite_a=True)
        if info:
            raise no_inverse()
    rest = gram.diagonal[item] - target @ weights
    if rest <= 0.0:
        raise no_inverse()
    return _Column(items.astype(np.int32), weights * (-0.5 / rest), 1.0 / rest)


def _squared_norms(rows: csr_matrix | np.ndarray) -> np.ndarray:
    """Squared length of each row ``(n,)``."""
    if isinstance(rows, np.ndarray):
        return np.einsum("ij,ij->i", rows, rows)
    return np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
