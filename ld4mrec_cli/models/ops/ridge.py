"""EASE: zero-diagonal ridge regression of the items on each other, in closed form."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags

from ld4mrec_cli.models.ops.sparse_rows import root_weights
from ld4mrec_cli.models.ops.spd_inverse import NotPositiveDefiniteError, SymmetricTiles
from ld4mrec_cli.utils import memory
from ld4mrec_cli.utils.errors import UserError

BYTES_PER_ITEM_PAIR = 8
"""Memory of the closed form: half a matrix in float64 tiles, and the float32 result."""


def check_memory(n_items: int) -> None:
    """Refuse a catalog whose dense item-item matrices are larger than the memory.

    Raises:
        UserError: names the items, the memory needed and another model.
    """
    needed, available = BYTES_PER_ITEM_PAIR * n_items**2, memory.physical_memory()
    if available is not None and needed > available:
        raise UserError(
            f"ease needs about {needed / 1e9:,.1f} GB for {n_items:,} items, "
            f"this machine has {available / 1e9:,.1f}",
            hint="Lower ease.max_items, so that each item has weights of its neighbors alone",
        )


def fit_ease(
    train: csr_matrix,
    ridge: float,
    degree_ridge: float = 0.0,
    user_exponent: float = 0.0,
    content: np.ndarray | None = None,
) -> np.ndarray:
    """Zero-diagonal ridge regression of the items on each other.

    ``B = I - P / diag(P)`` with ``P = (G + Λ)⁻¹`` and ``G = Xᵀ W X + C Cᵀ``. Users have the
    weight ``W ∝ degree^-user_exponent`` (of mean 1 over the interactions), and
    ``Λ = ridge + degree_ridge · diag(Xᵀ W X)``. Time is cubic and memory quadratic in the items.

    Sources: EASE^R (Steck, WWW 2019, eq. 8), where W = I and Λ = λI; EDLAE (Steck, NeurIPS 2020,
    section 3), whose dropout p is a ``degree_ridge`` of p / (1 - p); collective EASE with content C
    (Jeunen et al., RecSys 2020).

    Args:
        train: interactions ``(n_users, n_items)``; one of weight w has the value √w in X, so that
            a user whose interactions all weigh w counts as one of the weight w in W.
        ridge: λ of every item.
        degree_ridge: ridge in proportion to the weighted interactions of the item.
        user_exponent: 0 gives all users the same weight.
        content: weighted features of the items C ``(n_items, dim)``, or None.

    Returns:
        B ``(n_items, n_items)``, float32.

    Raises:
        UserError: the ridge is too small for float64.
    """
    return to_weights(invert_gram(train, ridge, degree_ridge, user_exponent, content))


def invert_gram(
    train: csr_matrix,
    ridge: float,
    degree_ridge: float = 0.0,
    user_exponent: float = 0.0,
    content: np.ndarray | None = None,
) -> np.ndarray:
    """``P = (G + Λ)⁻¹`` of :func:`fit_ease`, ``(n_items, n_items)`` float32.

    Raises:
        UserError: the ridge is too small for float64.
    """
    gram = _regularized_gram(train, ridge, degree_ridge, user_exponent, content)
    try:
        gram.invert()
    except NotPositiveDefiniteError:
        raise no_inverse() from None
    return _pop_dense(gram, train.shape[1])


def to_weights(inverse: np.ndarray) -> np.ndarray:
    """B of :func:`fit_ease` from P ``(n_items, n_items)``, in the memory of P."""
    inverse /= -inverse.diagonal()
    np.fill_diagonal(inverse, 0.0)
    return inverse


def weigh_users(train: csr_matrix, exponent: float) -> np.ndarray:
    """Weights ``W ∝ degree^-exponent`` of the users ``(n_users,)``, mean 1 over interactions."""
    degree = np.asarray(train.sum(axis=1, dtype=np.float64)).ravel()  # with weights: their sum
    weight = np.power(np.where(degree > 0.0, degree, 1.0), -exponent)
    return weight * (degree.sum() / max(float(weight @ degree), 1e-300))


def no_inverse() -> UserError:
    """The error of a ridge that is too small."""
    return UserError(
        "the item Gram matrix has no inverse in float64",
        hint="Raise the ridge of the item weights",
    )


def _regularized_gram(
    train: csr_matrix,
    ridge: float,
    degree_ridge: float,
    user_exponent: float,
    content: np.ndarray | None,
) -> SymmetricTiles:
    """``G + Λ`` of :func:`fit_ease`."""
    columns = root_weights(train).tocsc()
    weighted = (columns.T @ diags(weigh_users(train, user_exponent))).tocsr()  # (n_items, n_users)
    gram = SymmetricTiles(train.shape[1])
    for i, j in gram.positions():
        product = weighted[gram.spans[i]] @ columns[:, gram.spans[j]]
        tile = product.toarray().astype(np.float64, copy=False)
        if i == j:
            tile[np.diag_indices_from(tile)] = tile.diagonal() * (1.0 + degree_ridge) + ridge
        if content is not None:
            tile += content[gram.spans[i]] @ content[gram.spans[j]].T
        gram.tiles[i, j] = tile
    return gram


def _pop_dense(matrix: SymmetricTiles, n: int) -> np.ndarray:
    """The whole matrix ``(n, n)`` in float32; each tile is freed once it is copied."""
    dense = np.empty((n, n), dtype=np.float32)
    for i, j in matrix.positions():
        tile = matrix.tiles.pop((i, j))
        dense[matrix.spans[i], matrix.spans[j]] = tile
        dense[matrix.spans[j], matrix.spans[i]] = tile.T
    return dense
