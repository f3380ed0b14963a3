"""Similarity of items by their vectors."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.base import Recommender
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.sparse_rows import SparseRows, l2_normalize


class CosineSimilarity(Recommender):
    """Scores of a row with one item are cosines of its vector and those of all items.

    The length of a vector grows with popularity, so an inner product would list popular items.
    """

    def __init__(self, vectors: Tensor) -> None:
        """``vectors``: of the items ``(n_items, d)``; a zero vector has the cosine 0 to all."""
        self._vectors = l2_normalize(vectors.detach())

    @torch.no_grad()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Sums of the cosines to the items of each row ``(n, n_items)``."""
        return self.factored_scores(rows, users).scores()

    def factored_scores(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """Factors of :meth:`score`."""
        queries = SparseRows.from_csr(rows, self._vectors.device).matmul(self._vectors)
        return FactoredScores((queries,), (self._vectors,), queries.new_zeros(len(self._vectors)))
