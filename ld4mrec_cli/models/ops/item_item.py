"""Recommenders with one item-item matrix."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix, issparse
from torch import Tensor

from ld4mrec_cli.models.base import ClosedFormRecommender
from ld4mrec_cli.models.ops.history_shares import split_row
from ld4mrec_cli.models.ops.sparse_rows import root_weights
from ld4mrec_cli.settings.base import Section


class ItemItemRecommender(ClosedFormRecommender):
    """Scores are ``rows @ weights`` with a sparse or dense item-item matrix.

    An interaction of weight w has the value √w, in the rows as in the fit (:func:`root_weights`).
    """

    def __init__(self, weights: csr_matrix | np.ndarray) -> None:
        """``weights``: ``(n_items, n_items)``, row = item interacted with, column = item scored."""
        self.weights = weights

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], settings: Section) -> Self:
        """Restore from :meth:`arrays`."""
        if "weights" in arrays:
            return cls(arrays["weights"])
        n_items = len(arrays["indptr"]) - 1
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        weights = csr_matrix(parts, shape=(n_items, n_items))
        weights.check_format(full_check=True)  # a product with a bad index reads foreign memory
        return cls(weights)

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`ClosedFormRecommender`."""
        if isinstance(self.weights, np.ndarray):
            return {"weights": self.weights}
        return {
            "data": self.weights.data,
            "indices": self.weights.indices,
            "indptr": self.weights.indptr,
        }

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """See :class:`ClosedFormRecommender`."""
        scores = root_weights(rows).astype(np.float32) @ self.weights
        return torch.from_numpy(scores.toarray() if issparse(scores) else scores)

    def score_items(
        self, rows: csr_matrix, items: np.ndarray, users: np.ndarray | None = None
    ) -> Tensor:
        """See :class:`ld4mrec_cli.evaluation.ranking.ItemScorer`.

        The block of the weights that is needed is gathered: the items of the rows by ``items``.
        """
        used = np.unique(rows.indices)
        if isinstance(self.weights, np.ndarray):
            block = self.weights[np.ix_(used, items)]
        else:
            block = self.weights[used][:, items]
        scores = root_weights(rows).astype(np.float32)[:, used] @ block
        return torch.from_numpy(scores.toarray() if issparse(scores) else scores)

    def history_shares(self, row: csr_matrix, items: np.ndarray) -> np.ndarray:
        """The item-item weights of each item of the history: ``√w_i B_ij``, exactly."""
        return self.score_items(split_row(row), items).numpy()
