"""Popularity: the same ranking for every user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.base import ClosedFormRecommender
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.specs import no_shares, no_similarity


class Popularity(ClosedFormRecommender):
    """Scores are the training interactions of the items, the same for every user.

    Where interactions have weights, the sums of these.
    """

    def __init__(self, degree: np.ndarray) -> None:
        """``degree``: interactions of each item ``(n_items,)``."""
        self.degree = degree.astype(np.float32)

    @classmethod
    def fit(
        cls, train: csr_matrix, settings: None, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Count the interactions of ``train`` ``(n_users, n_items)``."""
        return cls(np.asarray(train.sum(axis=0)).ravel())

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], settings: None) -> Self:
        """Restore from :meth:`arrays`."""
        return cls(arrays["degree"])

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`ClosedFormRecommender`."""
        return {"degree": self.degree}

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """See :class:`ClosedFormRecommender`."""
        return torch.from_numpy(self.degree).expand(rows.shape[0], -1).clone()

    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """Vectors of one number: 1 of each row, and the interactions of an item."""
        degree = torch.from_numpy(self.degree)
        ones = torch.ones(rows.shape[0], 1)
        return FactoredScores((ones,), (degree.unsqueeze(1),), torch.zeros_like(degree))

    def history_shares(self, row: csr_matrix, items: np.ndarray) -> NoReturn:
        """Raise UserError, see :meth:`check_shares`."""
        self.check_shares()

    def check_shares(self) -> NoReturn:
        """Raise UserError: no history acts on the scores."""
        raise no_shares("gives everyone the same scores")

    def item_similarity(self) -> NoReturn:
        """Raise UserError: the model relates no item to another."""
        raise no_similarity("popularity")
