"""Rank the catalog for every user of a split, or take given lists, and measure the lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import UNKNOWN
from ld4mrec_cli.evaluation.given_lists import GivenLists
from ld4mrec_cli.evaluation.metrics import (
    ACCURACY,
    LIST_METRICS,
    Exposure,
    accuracy,
    count_items,
)
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError, Scorer, batches, rank
from ld4mrec_cli.evaluation.results import Evaluation, mean_over_users
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group

OnLists = Callable[[np.ndarray, np.ndarray, np.ndarray], None]
"""Gets users ``(n,)``, their ranked items ``(n, depth)``, -1 past the end, and scores."""
RankUsers = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From users ``(n,)`` to their ranked items and scores, as :data:`OnLists` gets them."""
Lists = tuple[np.ndarray, np.ndarray]
"""Values of users, and how often items are listed, see :func:`_evaluate_users`."""


@dataclass(frozen=True)
class Batch:
    """The lists of some users, for a :class:`Measure`."""

    users: np.ndarray
    """``(n,)``."""
    lists: np.ndarray
    """Ranked items ``(n, depth)``, -1 past the end."""
    targets: csr_matrix
    """Items to find ``(n, n_items)``."""


class Measure(Protocol):
    """Values of each user's list beside the accuracy."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the values, without cutoff."""
        ...

    def values(self, batch: Batch, k: int) -> np.ndarray:
        """Values of the first k places ``(n, n_names)`` float64; NaN where there is none."""
        ...


@dataclass(frozen=True)
class _Task:
    """What is measured how."""

    rank_users: RankUsers
    rows: csr_matrix
    targets: csr_matrix
    cutoffs: Sequence[int]
    batch_size: int
    measures: Sequence[Measure] = ()
    on_batch: Callable[[int], None] | None = None
    on_lists: OnLists | None = None

    @property
    def names(self) -> list[str]:
        """Names of the values of users."""
        names = [*ACCURACY, *(name for measure in self.measures for name in measure.names)]
        return [f"{name}@{k}" for k in self.cutoffs for name in names]


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
    measures: Sequence[Measure] = (),
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
        measures: what is measured beside the accuracy.

    Raises:
        ValueError: no user has a target.
        NonFiniteScoresError: a score is NaN or infinite, in any process.
    """
    depth = min(max(cutoffs), targets.shape[1])

    def rank_users(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known_as = batch if trained_as is None else trained_as[batch]
        training_users = None if (known_as == UNKNOWN).any() else known_as
        return rank(scorer, rows[batch], exclude[batch], depth, training_users)

    task = _Task(rank_users, rows, targets, cutoffs, batch_size, measures, on_batch, on_lists)
    return _evaluate(task, users, group)


def evaluate_lists(
    lists: GivenLists,
    rows: csr_matrix,
    targets: csr_matrix,
    cutoffs: Sequence[int],
    batch_size: int,
    measures: Sequence[Measure] = (),
) -> Evaluation:
    """Measure given lists in place of a recommender's; a user without one has an empty list.

    Args:
        lists: of all users, without excluded items.
        rows: training interactions ``(n_users, n_items)``.
        targets, cutoffs, batch_size, measures: as for :func:`evaluate`.

    Raises:
        ValueError: no user has a target.
    """
    depth = min(max(cutoffs), targets.shape[1])

    def take(users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        items = lists.take(users, depth)
        return items, np.zeros(items.shape, dtype=np.float32)

    return _evaluate(_Task(take, rows, targets, cutoffs, batch_size, measures))


def evaluate_ranking(
    rank_users: RankUsers,
    rows: csr_matrix,
    targets: csr_matrix,
    cutoffs: Sequence[int],
    batch_size: int,
    users: np.ndarray,
    group: Group = SINGLE_PROCESS,
) -> Evaluation:
    """Measure the lists that ``rank_users`` gives; the other arguments as for :func:`evaluate`."""
    return _evaluate(_Task(rank_users, rows, targets, cutoffs, batch_size), users, group)


def _evaluate(
    task: _Task, users: np.ndarray | None = None, group: Group = SINGLE_PROCESS
) -> Evaluation:
    rows, targets, cutoffs = task.rows, task.targets, task.cutoffs
    users = np.flatnonzero(np.diff(targets.indptr)) if users is None else users
    if not len(users):
        raise ValueError("no user has a target")
    shard = users[slice(*group.shard_bounds(len(users)))]
    names = task.names
    nothing = np.empty((0, len(names))), np.zeros((len(cutoffs), targets.shape[1]), np.int64)
    values, counts = _in_all(group, lambda: _evaluate_users(task, shard), nothing)
    values = group.gather_array(values, group.shard_sizes(len(users)))
    counts = group.gather_array(counts[None], [1] * group.size).sum(axis=0)
    per_user = dict(zip(names, values.T, strict=True))
    metrics = mean_over_users(per_user)
    item_popularity = rows.getnnz(axis=0).astype(np.float64)  # entries may be weights
    for item_counts, k in zip(counts, cutoffs, strict=True):
        exposure = Exposure(item_counts, item_popularity)
        metrics |= {f"{name}@{k}": metric(exposure) for name, metric in LIST_METRICS.items()}
    return Evaluation(
        users=users,
        per_user=per_user,
        metrics=metrics,
        n_history=np.diff(rows.indptr)[users],
        n_targets=np.diff(targets.indptr)[users],
        item_counts=dict(zip(cutoffs, counts, strict=True)),
    )


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


def _evaluate_users(task: _Task, users: np.ndarray) -> Lists:
    """Values ``(n_users, n_names)`` and list counts ``(n_cutoffs, n_items)``.

    Lists are used up batch by batch: with a large cutoff, all lists would be users × items.
    """
    n_items = task.targets.shape[1]
    parts: list[np.ndarray] = [np.empty((0, len(task.names)))]
    counts = np.zeros((len(task.cutoffs), n_items), dtype=np.int64)
    for users_ in batches(users, task.batch_size):
        lists, scores = task.rank_users(users_)
        if task.on_lists:
            task.on_lists(users_, lists, scores)
        parts.append(_measure(task, Batch(users_, lists, task.targets[users_])))
        counts += [count_items(lists[:, :k], n_items) for k in task.cutoffs]
        if task.on_batch:
            task.on_batch(len(users_))
    return np.concatenate(parts), counts


def _measure(task: _Task, batch: Batch) -> np.ndarray:
    """The values of a batch ``(n, n_names)``."""
    found = np.array(list(accuracy(batch.lists, batch.targets, task.cutoffs).values())).T
    n_names = len(ACCURACY)
    parts: list[np.ndarray] = []
    for place, k in enumerate(task.cutoffs):
        parts.append(found[:, place * n_names : (place + 1) * n_names])
        parts += [measure.values(batch, k) for measure in task.measures]
    return np.concatenate(parts, axis=1)
