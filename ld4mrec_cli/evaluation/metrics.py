"""Ranking metrics over the whole catalog (definitions: docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError, Scorer, batches, rank
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.stats import gini

ACCURACY = ("recall", "ndcg", "precision", "hit", "mrr", "map")


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one recommender on one split."""

    users: np.ndarray
    """Users that count: those with at least one target, ``(n_users,)``."""
    per_user: dict[str, np.ndarray]
    """Accuracy metric, e.g. ``recall@20`` → value of each user, ``(n_users,)``."""
    metrics: dict[str, float]
    """Means over the users, and the metrics of the lists as a whole (coverage, gini, popularity)."""


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
) -> Evaluation:
    """Rank the catalog for every user with a target and compute the metrics.

    Args:
        rows: what the recommender sees of each user, ``(n_users, n_items)``.
        targets: items to be found, ``(n_users, n_items)``.
        exclude: items left out of the ranking, ``(n_users, n_items)``.
        on_batch: called with the number of users of each batch done.
        users: the users that count ``(n,)``, ascending, with a target each; all that have one where None.
        group: processes that call this with the same arguments; each ranks for its share and returns the whole.

    Raises:
        ValueError: no user has a target.
        NonFiniteScoresError: a score is NaN or infinite, in whichever process.
    """
    users = np.flatnonzero(np.diff(targets.indptr)) if users is None else users
    if not len(users):
        raise ValueError("no user has a target")
    n_items = targets.shape[1]
    depth = min(max(cutoffs), n_items)
    parts: list[dict[str, np.ndarray]] = []
    shown = np.zeros((len(cutoffs), n_items), dtype=np.int64)
    fault: NonFiniteScoresError | None = None
    for batch in batches(users[slice(*group.shard_bounds(len(users)))], batch_size):
        try:
            lists, _ = rank(scorer, rows[batch], exclude[batch], depth, batch)
        except NonFiniteScoresError as error:
            fault = (
                error  # the other processes must hear of it before they wait for this one's part
            )
            break
        # Lists are used up batch by batch: with a large cutoff, those of all users would be users × items.
        parts.append(accuracy(lists, targets[batch], cutoffs))
        shown += [times_shown(lists[:, :k], n_items) for k in cutoffs]
        if on_batch:
            on_batch(len(batch))
    if group.any(fault is not None):
        raise fault or NonFiniteScoresError("the recommender returned scores that are not finite")
    names = [f"{name}@{k}" for k in cutoffs for name in ACCURACY]
    own = np.array(
        [np.concatenate([part[name] for part in parts]) if parts else [] for name in names]
    ).T
    whole = group.gather_array(own, group.shard_sizes(len(users)))
    per_user = dict(zip(names, whole.T, strict=True))
    shown = group.gather_array(shown[None], [1] * group.size).sum(axis=0)
    metrics = {name: float(values.mean()) for name, values in per_user.items()}
    popularity = np.asarray(rows.sum(axis=0), dtype=np.float64).ravel()
    for counts, k in zip(shown, cutoffs, strict=True):
        metrics.update(_of_the_lists(counts, popularity, k))
    return Evaluation(users, per_user, metrics)


def accuracy(
    lists: np.ndarray, targets: csr_matrix, cutoffs: Sequence[int]
) -> dict[str, np.ndarray]:
    """Accuracy metrics of each user.

    Args:
        lists: ranked item indices ``(n, depth)``, -1 past the end of a list.
        targets: items to be found ``(n, n_items)``, at least one in each row.
        cutoffs: may lie beyond ``depth``; nothing here is as long as a cutoff.

    Returns:
        ``name@k`` → ``(n,)`` float64, for the names in :data:`ACCURACY`.
    """
    hits = hit_matrix(lists, targets)
    n_targets = np.diff(targets.indptr)
    places = np.arange(1, max(hits.shape[1], n_targets.max(initial=0)) + 1)
    discount = 1.0 / np.log2(places + 1.0)
    ideal_dcg = np.cumsum(discount)
    result = {}
    for k in cutoffs:
        hit = hits[:, :k]
        depth = hit.shape[1]
        found = hit.sum(axis=1)
        ideal = np.minimum(n_targets, min(k, len(places)))
        precision_at = np.cumsum(hit, axis=1) / places[:depth]
        first = np.where(found > 0, hit.argmax(axis=1) + 1, np.inf)
        result[f"recall@{k}"] = found / n_targets
        result[f"ndcg@{k}"] = (hit * discount[:depth]).sum(axis=1) / ideal_dcg[ideal - 1]
        result[f"precision@{k}"] = found / float(k)
        result[f"hit@{k}"] = (found > 0).astype(np.float64)
        result[f"mrr@{k}"] = 1.0 / first
        result[f"map@{k}"] = (precision_at * hit).sum(axis=1) / ideal
    return result


def hit_matrix(lists: np.ndarray, targets: csr_matrix) -> np.ndarray:
    """Which list entries are targets, ``(n, depth)`` float64 of 0 and 1."""
    n, n_items = targets.shape
    row_of = np.repeat(np.arange(n, dtype=np.int64), np.diff(targets.indptr))
    wanted = np.sort(row_of * n_items + targets.indices)
    keys = np.arange(n, dtype=np.int64)[:, None] * n_items + lists
    at = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    return ((wanted[at] == keys) & (lists >= 0)).astype(np.float64)


def times_shown(lists: np.ndarray, n_items: int) -> np.ndarray:
    """How often each item stands in ``lists`` ``(n, depth)``, ``(n_items,)``."""
    return np.bincount(lists[lists >= 0], minlength=n_items)


def _of_the_lists(counts: np.ndarray, popularity: np.ndarray, k: int) -> dict[str, float]:
    """Coverage, Gini index and mean popularity of the items recommended ``counts`` times each, ``(n_items,)``."""
    total = counts.sum()
    return {
        f"coverage@{k}": float((counts > 0).mean()),
        f"gini@{k}": gini(counts),
        f"popularity@{k}": float(counts @ popularity / total) if total else 0.0,
    }
