"""Ranking metrics over the whole catalog (definitions: docs/metrics.md).

A new metric per user is a function of :class:`TopK` with ``@accuracy_metric`` in this file. A
new metric of all lists is a function of :class:`Exposure` with ``@list_metric``. The names in
configuration, commands and reports derive from these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.utils.stats import gini as gini_index


@dataclass(frozen=True)
class TopK:
    """The first k places in the lists of n users, compared with their targets."""

    k: int
    hits: np.ndarray
    """Whether an entry is a target, ``(n, depth)`` float64 of 0 and 1; depth ≤ k."""
    n_targets: np.ndarray
    """Targets of each user, ``(n,)``, at least 1."""

    @cached_property
    def n_hits(self) -> np.ndarray:
        """Targets in the list of each user, ``(n,)``."""
        return self.hits.sum(axis=1)

    @cached_property
    def n_ideal(self) -> np.ndarray:
        """Targets in an ideal list of k places, ``(n,)``."""
        return np.minimum(self.n_targets, min(self.k, int(self.n_targets.max(initial=0))))

    @cached_property
    def ranks(self) -> np.ndarray:
        """1, 2, …, ``(depth,)``."""
        return np.arange(1, self.hits.shape[1] + 1)


@dataclass(frozen=True)
class Exposure:
    """How often the lists of all users show each item."""

    counts: np.ndarray
    """Lists that hold the item, ``(n_items,)``."""
    popularity: np.ndarray
    """Training interactions of the item, ``(n_items,)``."""


ACCURACY: dict[str, Callable[[TopK], np.ndarray]] = {}
"""Metrics of each user, by name."""
LIST_METRICS: dict[str, Callable[[Exposure], float]] = {}
"""Metrics of the lists as a whole, by name."""


def accuracy_metric(function: Callable[[TopK], np.ndarray]) -> Callable[[TopK], np.ndarray]:
    """Register a metric per user under the name of its function."""
    ACCURACY[function.__name__] = function
    return function


def list_metric(function: Callable[[Exposure], float]) -> Callable[[Exposure], float]:
    """Register a metric of all lists under the name of its function."""
    LIST_METRICS[function.__name__] = function
    return function


@accuracy_metric
def recall(top: TopK) -> np.ndarray:
    """Share of the targets that are in the list."""
    return top.n_hits / top.n_targets


@accuracy_metric
def ndcg(top: TopK) -> np.ndarray:
    """Discounted cumulative gain, binary, log2, over that of an ideal list."""
    n_places = max(top.hits.shape[1], int(top.n_ideal.max(initial=0)))
    discount = 1.0 / np.log2(np.arange(1, n_places + 1) + 1.0)
    dcg = (top.hits * discount[: top.hits.shape[1]]).sum(axis=1)
    return dcg / np.cumsum(discount)[top.n_ideal - 1]


@accuracy_metric
def precision(top: TopK) -> np.ndarray:
    """Share of the k places that hold a target."""
    return top.n_hits / float(top.k)


@accuracy_metric
def hit(top: TopK) -> np.ndarray:
    """1 where the list holds a target, else 0."""
    return (top.n_hits > 0).astype(np.float64)


@accuracy_metric
def mrr(top: TopK) -> np.ndarray:
    """1 / rank of the first target, 0 without one."""
    return 1.0 / np.where(top.n_hits > 0, top.hits.argmax(axis=1) + 1, np.inf)


@accuracy_metric
def map(top: TopK) -> np.ndarray:
    """Average precision, over min(k, targets)."""
    precision_at = np.cumsum(top.hits, axis=1) / top.ranks
    return (precision_at * top.hits).sum(axis=1) / top.n_ideal


@list_metric
def coverage(exposure: Exposure) -> float:
    """Share of the items that are in a list."""
    return float((exposure.counts > 0).mean())


@list_metric
def gini(exposure: Exposure) -> float:
    """Gini index of the items' places in the lists: 0 is even."""
    return gini_index(exposure.counts)


@list_metric
def popularity(exposure: Exposure) -> float:
    """Mean training interactions of the items in the lists."""
    total = exposure.counts.sum()
    return float(exposure.counts @ exposure.popularity / total) if total else 0.0


def accuracy(
    lists: np.ndarray, targets: csr_matrix, cutoffs: Sequence[int]
) -> dict[str, np.ndarray]:
    """Accuracy metrics of each user.

    Args:
        lists: ranked item indices ``(n, depth)``, -1 past the end of a list.
        targets: items to find ``(n, n_items)``, at least one in each row.
        cutoffs: may lie beyond ``depth``.

    Returns:
        ``name@k`` → ``(n,)`` float64, for the names in :data:`ACCURACY`.
    """
    hits = hit_matrix(lists, targets)
    n_targets = np.diff(targets.indptr).astype(np.int64)  # a cutoff may be larger than int32
    values: dict[str, np.ndarray] = {}
    for k in cutoffs:
        top = TopK(k, hits[:, :k], n_targets)
        values |= {f"{name}@{k}": metric(top) for name, metric in ACCURACY.items()}
    return values


def hit_matrix(lists: np.ndarray, targets: csr_matrix) -> np.ndarray:
    """Which list entries are targets, ``(n, depth)`` float64 of 0 and 1."""
    n, n_items = targets.shape
    row_of = np.repeat(np.arange(n, dtype=np.int64), np.diff(targets.indptr))
    target_keys = np.sort(row_of * n_items + targets.indices)
    keys = np.arange(n, dtype=np.int64)[:, None] * n_items + lists
    at = np.minimum(np.searchsorted(target_keys, keys), len(target_keys) - 1)
    return ((target_keys[at] == keys) & (lists >= 0)).astype(np.float64)


def count_items(lists: np.ndarray, n_items: int) -> np.ndarray:
    """How often each item occurs in ``lists`` ``(n, depth)``, ``(n_items,)``."""
    return np.bincount(lists[lists >= 0], minlength=n_items)
