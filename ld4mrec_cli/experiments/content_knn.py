"""The baseline of content: cosines of an item to the nearest items of a history, summed up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.data.features import Modality
from ld4mrec_cli.models.ops.content_neighbors import ItemFeatures, embed_content

KNN_SIZES = (1, 2, 5, 10_000)
"""Nearest items of a history that are summed up, at most: what :func:`choose_size` tries."""


@dataclass(frozen=True)
class ContentKNN:
    """Scores items for histories, by their features alone."""

    known: np.ndarray
    """Vectors of the items that histories consist of ``(n_known, d)``; products are cosines."""
    scored: np.ndarray
    """Vectors of the items to score ``(n_scored, d)``."""
    size: int
    """Items of a history that are summed up, at most."""

    @classmethod
    def of(
        cls, known: Mapping[str, Modality], scored: Mapping[str, Modality], size: int
    ) -> ContentKNN:
        """Compare the items of histories with those to score, by the same modalities."""
        return cls(*embed_content(_features_of(known), _features_of(scored)), size)

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_scored)`` for histories ``(n, n_known)``."""
        scores = np.zeros((rows.shape[0], len(self.scored)), dtype=np.float32)
        for n in range(rows.shape[0]):
            history = self.known[rows.indices[rows.indptr[n] : rows.indptr[n + 1]]]
            if len(history) <= self.size:
                scores[n] = history.sum(axis=0) @ self.scored.T
            else:
                cosines = history @ self.scored.T
                scores[n] = np.partition(cosines, -self.size, axis=0)[-self.size :].sum(axis=0)
        return torch.from_numpy(scores)


def choose_size(knn: ContentKNN, measure: Callable[[ContentKNN], float]) -> int:
    """The size that is best by ``measure``, of equal ones the least."""
    return max(KNN_SIZES, key=lambda size: (measure(replace(knn, size=size)), -size))


def _features_of(modalities: Mapping[str, Modality]) -> dict[str, ItemFeatures]:
    return {name: ItemFeatures(one.values, one.present) for name, one in modalities.items()}
