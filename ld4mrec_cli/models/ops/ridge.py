"""EASE: zero-diagonal ridge regression of the items on each other, in closed form."""

from __future__ import annotations

import numpy as np
from scipy import linalg
from scipy.sparse import csr_matrix, diags

from ld4mrec_cli.utils import memory
from ld4mrec_cli.utils.errors import UserError

WORKING_MATRICES = 3
"""Dense float64 item-item matrices that the closed form holds at a time: the Gram matrix, its factor, the result."""


def check_closed_form(n_items: int) -> None:
    """Refuse a catalog whose dense item-item matrices are larger than the memory.

    Raises:
        UserError: names the items, the memory needed and what to use in its place.
    """
    needed, available = WORKING_MATRICES * n_items**2 * 8, memory.physical_memory()
    if available is not None and needed > available:
        what = f"ease needs about {needed / 1e9:,.1f} GB for {n_items:,} items, this machine has {available / 1e9:,.1f}"
        raise UserError(what, hint="Use itemknn, whose memory follows the interactions")


def fit_ease(
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
        raise UserError(
            "the item Gram matrix has no inverse in float64",
            hint="Raise the ridge of the item weights",
        )
    precision = np.triu(inverse).astype(np.float32)
    del gram, factor, inverse
    precision += np.triu(precision, 1).T
    weights = -precision / np.diagonal(precision)
    np.fill_diagonal(weights, 0.0)
    return weights
