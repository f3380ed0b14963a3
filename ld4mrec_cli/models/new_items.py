"""A recommender that was extended by new items, of which only the content is known."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.base import Recommender
from ld4mrec_cli.models.ops.history_shares import leave_one_out


class ExtendedRecommender(Recommender):
    """Scores the items of a model, and after them new items by known ones of like content.

    In a history, the nearest known item stands for a new one. How the scores of a new item come
    about is a matter of the model: :meth:`Recommender.score_new_items`.
    """

    def __init__(self, base: Recommender, neighbors: csr_matrix, weight: float = 1.0) -> None:
        """Extend a model.

        Args:
            base: scores the known items.
            neighbors: known items that stand for each new one ``(n_new, n_known)``.
            weight: factor of the scores of the new items; more than 1 brings them forward.
        """
        self.base = base
        self.neighbors = neighbors
        self.weight = weight
        self._nearest = _keep_nearest(neighbors)
        self._has_no_content = torch.from_numpy(np.diff(neighbors.indptr) == 0)

    @property
    def n_known(self) -> int:
        """Items of the model that was extended."""
        return int(self.neighbors.shape[1])

    @torch.inference_mode()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """See :class:`Recommender`."""
        known, new = self.base.score_new_items(self._replace_new(rows), users, self.neighbors)
        new = weigh_scores(new, self.weight)
        if bool(self._has_no_content.any()):
            is_last = self._has_no_content.to(new.device)
            new = torch.where(is_last, known.amin(dim=1, keepdim=True).to(new.dtype), new)
        return torch.cat([known, new.to(known.dtype)], dim=1)

    def item_similarity(self) -> Recommender:
        """The model's similarity; of a new item, that of the content alone.

        Raises:
            UserError: the model relates no item to another.
        """
        similarity = self.base.item_similarity()
        return _ExtendedSimilarity(similarity, self.neighbors)

    def check_shares(self) -> None:
        """See :class:`Recommender`."""
        self.base.check_shares()

    def history_shares(self, row: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Shares as of the model; where new items are part of it, by leaving each item out."""
        if not len(items) or max(int(items.max()), int(row.indices.max(initial=0))) < self.n_known:
            return self.base.history_shares(row[:, : self.n_known], items)
        chosen = torch.from_numpy(items)

        def score(rows: csr_matrix) -> Tensor:
            return self.score(rows).cpu()[:, chosen]

        return leave_one_out(score, row).numpy()

    def _replace_new(self, rows: csr_matrix) -> csr_matrix:
        """The rows over the known items ``(n, n_known)``."""
        known = csr_matrix(rows[:, : self.n_known])
        new = rows[:, self.n_known :]
        if new.nnz:
            known = csr_matrix(known.maximum(new @ self._nearest))
            known.sort_indices()
        return known


def weigh_scores(scores: Tensor, weight: float) -> Tensor:
    """Scores times a positive weight; negative ones by it, so that more is higher for all."""
    return torch.where(scores > 0.0, scores * weight, scores / weight)


class _ExtendedSimilarity(Recommender):
    """Similarities of known and new items to the items of a row."""

    def __init__(self, base: Recommender, neighbors: csr_matrix) -> None:
        self._base, self._neighbors = base, neighbors

    @torch.inference_mode()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Similarities ``(n, n_known + n_new)``; rows of a new item have those of its content."""
        n_known = self._neighbors.shape[1]
        of_known = csr_matrix(rows[:, :n_known])
        scores = torch.cat(
            self._base.score_new_items(of_known, users, self._neighbors), dim=1
        ).float()
        content = rows[:, n_known:] @ self._neighbors
        is_new = np.flatnonzero(np.diff(content.indptr))
        if len(is_new):
            by_content = [content[is_new], content[is_new] @ self._neighbors.T]
            values = np.concatenate([part.toarray() for part in by_content], axis=1)
            scores[torch.from_numpy(is_new)] = torch.from_numpy(values).to(scores)
        no_content = np.diff(rows[:, n_known:].indptr).astype(bool)
        no_content[is_new] = False
        scores[torch.from_numpy(no_content)] = 0.0
        return scores


def _keep_nearest(neighbors: csr_matrix) -> csr_matrix:
    """One for the largest weight of each row, of ties the first ``(n_new, n_known)``."""
    has_any = np.diff(neighbors.indptr) > 0
    nearest = np.asarray(neighbors.argmax(axis=1)).ravel()[has_any]
    at = np.flatnonzero(has_any), nearest
    return csr_matrix((np.ones(len(nearest), dtype=np.float32), at), shape=neighbors.shape)
