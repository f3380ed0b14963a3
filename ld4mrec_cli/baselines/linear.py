"""Baselines that are one item-item matrix or less: popularity, ItemKNN, EASE^R."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags, issparse
from torch import Tensor

from ld4mrec_cli.baselines.closed_form import check_closed_form
from ld4mrec_cli.config import Config
from ld4mrec_cli.model.guidance import ridge_item_weights


class Popularity:
    """Ranks items by their number of training interactions, the same for every user."""

    def __init__(self, degree: np.ndarray) -> None:
        self.degree = degree.astype(np.float32)

    @classmethod
    def fit(cls, train: csr_matrix, config: Config) -> Self:
        """Count the interactions of ``train`` ``(n_users, n_items)``."""
        return cls(np.asarray(train.sum(axis=0)).ravel())

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], config: Config) -> Self:
        """Restore from :meth:`arrays`."""
        return cls(arrays["degree"])

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`ld4mrec_cli.baselines.registry.FittedBaseline`."""
        return {"degree": self.degree}

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """See :class:`ld4mrec_cli.baselines.registry.FittedBaseline`."""
        return torch.from_numpy(self.degree).expand(rows.shape[0], -1).clone()


class _ItemWeighted:
    """Scores are ``rows @ weights`` with a sparse or dense item-item matrix."""

    def __init__(self, weights: csr_matrix | np.ndarray) -> None:
        """``weights``: ``(n_items, n_items)``, row = item interacted with, column = item scored."""
        self.weights = weights

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], config: Config) -> Self:
        """Restore from :meth:`arrays`."""
        if "weights" in arrays:
            return cls(arrays["weights"])
        n_items = len(arrays["indptr"]) - 1
        return cls(csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(n_items, n_items)))

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`ld4mrec_cli.baselines.registry.FittedBaseline`."""
        if isinstance(self.weights, np.ndarray):
            return {"weights": self.weights}
        return {"data": self.weights.data, "indices": self.weights.indices, "indptr": self.weights.indptr}

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """See :class:`ld4mrec_cli.baselines.registry.FittedBaseline`."""
        scores = rows.astype(np.float32) @ self.weights
        return torch.from_numpy(scores.toarray() if issparse(scores) else scores)


class ItemKNN(_ItemWeighted):
    """Item-based nearest neighbours with (asymmetric, user-weighted) cosine similarity (Sarwar et al. 2001)."""

    @classmethod
    def fit(cls, train: csr_matrix, config: Config) -> Self:
        """Keep, for each item that can be scored, its most similar ``itemknn.neighbours`` items."""
        settings = config.itemknn
        user_degree, degree = (np.asarray(train.sum(axis=axis)).ravel() for axis in (1, 0))
        weight = np.power(np.maximum(user_degree, 1.0), -settings.user_exponent)
        gram = (train.T @ diags(weight) @ train).tocoo()
        length = degree[gram.row] ** settings.source_exponent * degree[gram.col] ** settings.target_exponent
        values = gram.data / (length + settings.shrinkage)
        similarity = csr_matrix((values, (gram.row, gram.col)), shape=gram.shape, dtype=np.float32)
        similarity.setdiag(0.0)
        similarity.eliminate_zeros()
        return cls(keep_largest(similarity.T.tocsr(), settings.neighbours).T.tocsr())


class EASE(_ItemWeighted):
    """Embarrassingly shallow autoencoder: zero-diagonal ridge item weights (Steck, WWW 2019)."""

    @classmethod
    def fit(cls, train: csr_matrix, config: Config) -> Self:
        """Solve the closed form; time is cubic and memory quadratic in the items.

        The weights stay dense: most of them are not zero, so that a sparse matrix would be the larger one.

        Raises:
            UserError: the items are too many for the memory of this machine.
        """
        check_closed_form(train.shape[1])
        return cls(np.ascontiguousarray(ridge_item_weights(train, config.ease.ridge), dtype=np.float32))


def keep_largest(matrix: csr_matrix, k: int) -> csr_matrix:
    """Keep the k largest entries of each row; ties keep the lower index."""
    kept = np.zeros(matrix.nnz, dtype=bool)
    for row in range(matrix.shape[0]):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        order = np.lexsort((matrix.indices[span], -matrix.data[span]))[:k]
        kept[span.start + order] = True
    row_of = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return csr_matrix((matrix.data[kept], (row_of[kept], matrix.indices[kept])), shape=matrix.shape)
