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

from ld4mrec_cli.data.dataset import UNKNOWN
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError, Scorer, batches, rank
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
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


OnLists = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
"""Gets users ``(n,)``, their ranked items ``(n, depth)``, -1 past the end, and scores."""
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


Lists = tuple[np.ndarray, np.ndarray]
"""Metrics of users, and how often items are listed, see :func:`_evaluate_users`."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one recommender on one split."""

    users: np.ndarray
    """Users that count: those with at least one target, ``(n_users,)``."""
    per_user: dict[str, np.ndarray]
    """Accuracy metric, e.g. ``recall@20`` → value of each user, ``(n_users,)``."""
    metrics: dict[str, float]
    """Means of the accuracy metrics over the users, and the metrics of the lists as a whole."""


def evaluate(
    scorer: Scorer,
    rows: csr_matrix,
    targets: csr_matrix,
    exclude: csr_matrix,
    cutoffs: Sequence[int],
    batch_size: int,
    on_batch: Callable[[int], None] | None = None,
    users: np.ndarray | None = None,
    group: Group = SINGLE_PROCESS,
    on_lists: OnLists | None = None,
    trained_as: np.ndarray | None = None,
) -> Evaluation:
    """Rank the catalog for every user with a target and compute the metrics.

    Args:
        rows: input of the recommender, ``(n_users, n_items)``.
        targets: items to find, ``(n_users, n_items)``.
        exclude: items left out of the ranking, ``(n_users, n_items)``.
        on_batch: called with the number of users of each finished batch.
        users: users that count ``(n,)``, ascending, each with a target; None: all with a target.
        group: processes that call this with the same arguments; each ranks for its share of the
            users and returns the whole.
        on_lists: called with the lists of each batch, of this process's users alone.
        trained_as: training user of each row ``(n_users,)`` int64, UNKNOWN for a new user; None:
            the rows are the training users.

    Raises:
        ValueError: no user has a target.
        NonFiniteScoresError: a score is NaN or infinite, in any process.
    """
    users = np.flatnonzero(np.diff(targets.indptr)) if users is None else users
    if not len(users):
        raise ValueError("no user has a target")
    shard = users[slice(*group.shard_bounds(len(users)))]
    names = [f"{name}@{k}" for k in cutoffs for name in ACCURACY]
    nothing = np.empty((0, len(names))), np.zeros((len(cutoffs), targets.shape[1]), np.int64)
    inputs = scorer, rows, targets, exclude, cutoffs, batch_size, shard
    values, counts = _in_all(
        group, lambda: _evaluate_users(*inputs, on_batch, on_lists, trained_as), nothing
    )
    values = group.gather_array(values, group.shard_sizes(len(users)))
    counts = group.gather_array(counts[None], [1] * group.size).sum(axis=0)
    per_user = dict(zip(names, values.T, strict=True))
    metrics = {name: float(column.mean()) for name, column in per_user.items()}
    item_popularity = rows.getnnz(axis=0).astype(np.float64)  # entries may be weights
    for item_counts, k in zip(counts, cutoffs, strict=True):
        exposure = Exposure(item_counts, item_popularity)
        metrics |= {f"{name}@{k}": metric(exposure) for name, metric in LIST_METRICS.items()}
    return Evaluation(users, per_user, metrics)


def _in_all(group: Group, compute: Callable[[], Lists], otherwise: Lists) -> Lists:
    """What ``compute`` returns; where it fails in one process of a group, all raise."""
    error: NonFiniteScoresError | None = None
    result = otherwise
    try:
        result = compute()
    except NonFiniteScoresError as raised:
        error = raised  # the others must hear of it before they wait for this process
    if group.any(error is not None):
        raise error or NonFiniteScoresError("the recommender returned scores that are not finite")
    return result


def _evaluate_users(
    scorer: Scorer,
    rows: csr_matrix,
    targets: csr_matrix,
    exclude: csr_matrix,
    cutoffs: Sequence[int],
    batch_size: int,
    users: np.ndarray,
    on_batch: Callable[[int], None] | None,
    on_lists: OnLists | None,
    trained_as: np.ndarray | None,
) -> Lists:
    """Accuracy metrics ``(n_users, n_metrics)`` and list counts ``(n_cutoffs, n_items)``.

    Lists are used up batch by batch: with a large cutoff, all lists would be users × items.
    """
    n_items = targets.shape[1]
    depth = min(max(cutoffs), n_items)
    parts: list[np.ndarray] = [np.empty((0, len(cutoffs) * len(ACCURACY)))]
    counts = np.zeros((len(cutoffs), n_items), dtype=np.int64)
    for batch in batches(users, batch_size):
        known_as = batch if trained_as is None else trained_as[batch]
        training_users = None if (known_as == UNKNOWN).any() else known_as
        lists, scores = rank(scorer, rows[batch], exclude[batch], depth, training_users)
        if on_lists:
            on_lists(batch, lists, scores)
        parts.append(np.array(list(accuracy(lists, targets[batch], cutoffs).values())).T)
        counts += [count_items(lists[:, :k], n_items) for k in cutoffs]
        if on_batch:
            on_batch(len(batch))
    return np.concatenate(parts), counts


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
