"""Measures beyond accuracy: novelty, diversity, serendipity, calibration (docs/metrics.md).

Each has a value for each user, and none (NaN) where its definition gives none, such as the
diversity of a list of one item.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.evaluate import Batch
from ld4mrec_cli.evaluation.metrics import hit_matrix

MAX_CHUNK = 2**22
"""About the most numbers of an intermediate result."""
SMOOTHING = 0.01
"""Share of the history's distribution that is mixed into a list's, against log 0 (Steck 2018)."""


class Novelty:
    """Mean inverse user frequency of the entries: -log2 of the share of users with the item."""

    names = ("novelty",)

    def __init__(self, train: csr_matrix) -> None:
        """``train`` ``(n_users, n_items)``: the training interactions."""
        n_users = max(int((np.diff(train.indptr) > 0).sum()), 1)
        # An item without any counts as if one user had it.
        self._of_item = -np.log2(np.maximum(train.getnnz(axis=0), 1) / n_users)

    def values(self, batch: Batch, k: int) -> np.ndarray:
        """Mean over the entries ``(n, 1)``."""
        lists = batch.lists[:, :k]
        is_there = lists >= 0
        total = np.where(is_there, self._of_item[lists], 0.0).sum(axis=1)
        return _ratio(total, is_there.sum(axis=1))[:, None]


class Serendipity:
    """Hits that popularity would not have placed as high, as RecTools defines it."""

    names = ("serendipity",)

    def __init__(self, train: csr_matrix) -> None:
        """``train`` ``(n_users, n_items)``: the training interactions."""
        counts = train.getnnz(axis=0)
        self._n_items = len(counts)
        levels = np.unique(counts[counts > 0])[::-1]  # items of one count share a rank
        rank = len(levels) - np.searchsorted(levels[::-1], counts)
        expected = (self._n_items + 1 - rank) / self._n_items
        self._expected = np.where(counts > 0, expected, 0.0)

    def values(self, batch: Batch, k: int) -> np.ndarray:
        """Sum over the hits, over the k places ``(n, 1)``."""
        lists = batch.lists[:, :k]
        ranks = np.arange(1, lists.shape[1] + 1)
        surplus = (self._n_items + 1 - ranks) / self._n_items - self._expected[lists]
        gains = hit_matrix(lists, batch.targets) * np.maximum(surplus, 0.0)
        return gains.sum(axis=1)[:, None] / float(k)


class ContentDiversity:
    """Mean cosine distance of the pairs of a list, by the features of a modality."""

    def __init__(self, modality: str, features: np.ndarray, present: np.ndarray) -> None:
        """Features ``(n_items, dim)``; pairs without a feature of their own do not count."""
        self.names = (f"diversity_{modality}",)
        self._features = features
        self._present = present

    def values(self, batch: Batch, k: int) -> np.ndarray:
        """Mean over the pairs ``(n, 1)``, from the length of the sum of unit vectors."""
        lists = batch.lists[:, :k]
        parts = [
            self._distances(lists[start:stop])
            for start, stop in _chunks(len(lists), lists.shape[1] * self._features.shape[1])
        ]
        return np.concatenate(parts)[:, None]

    def _distances(self, lists: np.ndarray) -> np.ndarray:
        vectors = self._features[lists].astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=2)
        counts = (lists >= 0) & self._present[lists] & (lengths > 0.0)
        vectors *= np.where(counts, 1.0 / np.where(lengths > 0.0, lengths, 1.0), 0.0)[:, :, None]
        squared = (vectors.sum(axis=1) ** 2).sum(axis=1)
        n = counts.sum(axis=1)
        return _mean_distance(squared - n, n)


class CooccurrenceDiversity:
    """Mean cosine distance of the pairs of a list, by the users who have the items."""

    names = ("diversity_cooccurrence",)

    def __init__(self, train: csr_matrix) -> None:
        """``train`` ``(n_users, n_items)``: the training interactions."""
        self._counts = train.getnnz(axis=0)
        items = csr_matrix(train.T.astype(bool).astype(np.float64))
        items.data /= np.repeat(np.sqrt(self._counts), self._counts)
        self._items = items

    def values(self, batch: Batch, k: int) -> np.ndarray:
        """Mean over the pairs ``(n, 1)``; an item that nobody has is far from all."""
        lists = batch.lists[:, :k]
        per_user = min(int(self._counts.max(initial=1)) * lists.shape[1], self._items.shape[1])
        parts = [
            self._distances(lists[start:stop]) for start, stop in _chunks(len(lists), per_user)
        ]
        return np.concatenate(parts)[:, None]

    def _distances(self, lists: np.ndarray) -> np.ndarray:
        sums = _indicator(lists, len(self._counts)) @ self._items
        squared = np.asarray(sums.multiply(sums).sum(axis=1)).ravel()
        is_there = lists >= 0
        n_with_users = (is_there & (self._counts[lists] > 0)).sum(axis=1)
        return _mean_distance(squared - n_with_users, is_there.sum(axis=1))


class Miscalibration:
    """Divergence of a list's categories from those of the user's history (Steck 2018)."""

    names = ("miscalibration",)

    def __init__(self, train: csr_matrix, categories: csr_matrix) -> None:
        """Which category each item has.

        Args:
            train: training interactions ``(n_users, n_items)``.
            categories: ``(n_items, n_categories)``; a row sums to 1, or to 0 without a category.
        """
        self._train = train
        self._categories = csr_matrix(categories, dtype=np.float64)

    def values(self, batch: Batch, k: int) -> np.ndarray:
        """Kullback-Leibler divergence ``(n, 1)``; 0: the list is like the history."""
        n_items, n_categories = self._categories.shape
        parts = []
        for start, stop in _chunks(len(batch.users), n_categories):
            history = self._train[batch.users[start:stop]].astype(bool).astype(np.float64)
            lists = _indicator(batch.lists[start:stop, :k], n_items)
            parts.append(
                _divergence(_shares(history @ self._categories), _shares(lists @ self._categories))
            )
        return np.concatenate(parts)[:, None]


def _shares(totals: csr_matrix) -> np.ndarray:
    """Rows of ``totals`` over their sums, dense; NaN for an empty row."""
    dense = totals.toarray()
    sums = dense.sum(axis=1, keepdims=True)
    return np.divide(dense, sums, out=np.full_like(dense, np.nan), where=sums > 0.0)


def _divergence(history: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """KL(history || listed) of rows of shares ``(n,)``, in nats."""
    smooth = (1.0 - SMOOTHING) * listed + SMOOTHING * history
    ratio = np.divide(history, smooth, out=np.ones_like(history), where=history > 0.0)
    divergence = (np.where(history > 0.0, history, 0.0) * np.log(ratio)).sum(axis=1)
    is_undefined = np.isnan(history).any(axis=1) | np.isnan(listed).any(axis=1)
    return np.where(is_undefined, np.nan, np.maximum(divergence, 0.0))


def _indicator(lists: np.ndarray, n_items: int) -> csr_matrix:
    """Which items each list holds ``(n, n_items)``."""
    is_there = lists >= 0
    starts = np.concatenate([[0], np.cumsum(is_there.sum(axis=1))])
    items = lists[is_there]
    return csr_matrix((np.ones(len(items)), items, starts), shape=(len(lists), n_items))


def _mean_distance(cosines: np.ndarray, n: np.ndarray) -> np.ndarray:
    """1 - mean cosine of the pairs, from the sum over ordered pairs; NaN for fewer than two."""
    return np.clip(1.0 - _ratio(cosines, n * (n - 1)), 0.0, 2.0)


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """``total / count``, NaN where that is 0."""
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _chunks(n: int, width: int) -> Iterator[tuple[int, int]]:
    """Start and end of runs of rows with about MAX_CHUNK numbers of ``width`` each; at least one.

    Of no rows there is one empty run, so that the parts can be joined.
    """
    size = max(1, MAX_CHUNK // max(width, 1))
    for start in range(0, max(n, 1), size):
        yield start, min(start + size, n)
