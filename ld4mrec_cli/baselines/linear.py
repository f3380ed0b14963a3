"""Baselines that are one item-item matrix or less: popularity, ItemKNN, EASE^R.

Each has ``fit(train, config)``, ``score(rows)``, and ``arrays()`` / ``from_arrays(arrays)`` for saving.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix, issparse
from torch import Tensor

from ld4mrec_cli.baselines.closed_form import check_closed_form
from ld4mrec_cli.config import BaselineConfig
from ld4mrec_cli.model.guidance import ridge_item_weights


class Baseline(Protocol):
    """A recommender that is fitted in one go; what :data:`BASELINES` holds."""

    @classmethod
    def check_size(cls, n_items: int) -> None:
        """Raise UserError where so many items do not fit."""
        ...

    @classmethod
    def fit(cls, train: csr_matrix, config: BaselineConfig) -> Self:
        """Fit to the training interactions ``(n_users, n_items)``."""
        ...

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Restore from :meth:`arrays`."""
        ...

    def score(self, rows: csr_matrix) -> Tensor:
        """Scores ``(n, n_items)`` float32 for rows ``(n, n_items)``."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be saved to score again."""
        ...


class Popularity:
    """Ranks items by their number of training interactions, the same for every user."""

    def __init__(self, degree: np.ndarray) -> None:
        self.degree = degree.astype(np.float32)

    @classmethod
    def check_size(cls, n_items: int) -> None:
        """Any number of items fits: memory follows the interactions."""

    @classmethod
    def fit(cls, train: csr_matrix, config: BaselineConfig) -> Self:
        """Count the interactions of ``train`` ``(n_users, n_items)``."""
        return cls(np.asarray(train.sum(axis=0)).ravel())

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Restore from :meth:`arrays`."""
        return cls(arrays["degree"])

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`Baseline`."""
        return {"degree": self.degree}

    def score(self, rows: csr_matrix) -> Tensor:
        """See :class:`Baseline`."""
        return torch.from_numpy(self.degree).expand(rows.shape[0], -1).clone()


class _ItemWeighted:
    """Scores are ``rows @ weights`` with a sparse or dense item-item matrix."""

    def __init__(self, weights: csr_matrix | np.ndarray) -> None:
        """``weights``: ``(n_items, n_items)``, row = item interacted with, column = item scored."""
        self.weights = weights

    @classmethod
    def check_size(cls, n_items: int) -> None:
        """Any number of items fits: memory follows the interactions."""

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Restore from :meth:`arrays`."""
        if "weights" in arrays:
            return cls(arrays["weights"])
        n_items = len(arrays["indptr"]) - 1
        return cls(csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(n_items, n_items)))

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`Baseline`."""
        if isinstance(self.weights, np.ndarray):
            return {"weights": self.weights}
        return {"data": self.weights.data, "indices": self.weights.indices, "indptr": self.weights.indptr}

    def score(self, rows: csr_matrix) -> Tensor:
        """See :class:`Baseline`."""
        scores = rows.astype(np.float32) @ self.weights
        return torch.from_numpy(scores.toarray() if issparse(scores) else scores)


class ItemKNN(_ItemWeighted):
    """Item-based nearest neighbours with cosine similarity (Sarwar et al. 2001)."""

    @classmethod
    def fit(cls, train: csr_matrix, config: BaselineConfig) -> Self:
        """Keep, for each item, its most similar ``itemknn_neighbours`` items."""
        degree = np.asarray(train.sum(axis=0)).ravel()
        gram = (train.T @ train).tocoo()
        length = np.sqrt(degree[gram.row]) * np.sqrt(degree[gram.col]) + config.itemknn_shrinkage
        similarity = csr_matrix((gram.data / length, (gram.row, gram.col)), shape=gram.shape, dtype=np.float32)
        similarity.setdiag(0.0)
        similarity.eliminate_zeros()
        return cls(keep_largest(similarity, config.itemknn_neighbours).T.tocsr())


class EASE(_ItemWeighted):
    """Embarrassingly shallow autoencoder: zero-diagonal ridge item weights (Steck, WWW 2019)."""

    @classmethod
    def check_size(cls, n_items: int) -> None:
        """Raise UserError where the items are too many for the memory of this machine."""
        check_closed_form(n_items)

    @classmethod
    def fit(cls, train: csr_matrix, config: BaselineConfig) -> Self:
        """Solve the closed form; time is cubic and memory quadratic in the items.

        The weights stay dense: most of them are not zero, so that a sparse matrix would be the larger one.

        Raises:
            UserError: the items are too many for the memory of this machine.
        """
        cls.check_size(train.shape[1])
        return cls(np.ascontiguousarray(ridge_item_weights(train, config.ease_ridge), dtype=np.float32))


def keep_largest(matrix: csr_matrix, k: int) -> csr_matrix:
    """Keep the k largest entries of each row; ties keep the lower index."""
    kept = np.zeros(matrix.nnz, dtype=bool)
    for row in range(matrix.shape[0]):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        order = np.lexsort((matrix.indices[span], -matrix.data[span]))[:k]
        kept[span.start + order] = True
    row_of = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return csr_matrix((matrix.data[kept], (row_of[kept], matrix.indices[kept])), shape=matrix.shape)


BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity,
    "itemknn": ItemKNN,
    "ease": EASE,
}
