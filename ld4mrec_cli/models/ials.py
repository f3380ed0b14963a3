"""iALS: implicit alternating least squares (Hu et al., ICDM 2008; Rendle et al., RecSys 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.base import ClosedFormRecommender
from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.ops.als import LeastSquares, fit_item_factors
from ld4mrec_cli.models.ops.content_neighbors import CONTENT_SHARE
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.item_vectors import CosineSimilarity


class IALS(ClosedFormRecommender):
    """Factorization by squared error over all cells; an unobserved cell has the weight α₀.

    User and item vectors are solved in turn. A user's vector is solved from the row that is
    scored, so any history can be scored.
    """

    content_share = CONTENT_SHARE

    def __init__(self, items: Tensor, settings: IALSConfig) -> None:
        """``items``: item vectors ``(n_items, factors)`` float32."""
        self.items = items
        self._users = LeastSquares(items, settings)

    @classmethod
    def fit(
        cls, train: csr_matrix, settings: IALSConfig, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Alternate over users and items; the first item vectors are drawn from ``seed``."""
        return cls(fit_item_factors(train, settings, seed), settings)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], settings: IALSConfig) -> Self:
        """Restore from :meth:`arrays`."""
        return cls(torch.from_numpy(arrays["items"].astype(np.float32, copy=False)), settings)

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`ClosedFormRecommender`."""
        return {"items": self.items.numpy()}

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Solve the vectors of the rows; their products with the item vectors ``(n, n_items)``."""
        return self.factored_scores(rows, users).scores()

    def factored_scores(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """Factors of :meth:`score`."""
        vectors = self._users.solve(rows)
        return FactoredScores((vectors,), (self.items,), self.items.new_zeros(len(self.items)))

    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """See :meth:`Recommender.inner_products`: all scores of this model are."""
        return self.factored_scores(rows, users)

    def history_shares(self, row: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Products of the items' vectors and the parts of the history's vector, exactly."""
        parts = self._users.solve_parts(row)
        return (parts @ self.items[torch.from_numpy(items)].T).numpy()

    def item_similarity(self) -> CosineSimilarity:
        """Cosines of the item vectors."""
        return CosineSimilarity(self.items)
