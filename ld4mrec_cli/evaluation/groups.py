"""Metrics by groups of users and of items, and the gap between the groups (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix, diags

from ld4mrec_cli.evaluation.evaluate import Batch
from ld4mrec_cli.evaluation.metrics import ACCURACY, accuracy
from ld4mrec_cli.evaluation.results import SHARE, Evaluation, Group, Grouping, mean_over_users

HISTORY_BOUNDS = (5, 10, 20, 50, 100)
"""First training interactions of the buckets after the first."""
N_QUANTILES = 4
TIERS = ("head", "mid", "tail")
"""Items by popularity; each tier has about a third of the training interactions."""
NOBODY = "(none)"
"""Group of the users without a value."""


def group_users(
    evaluation: Evaluation, by: str, labels: np.ndarray, names: Sequence[str]
) -> Grouping:
    """Means of the users of each group.

    Args:
        by: what the groups are of.
        labels: group of each evaluated user ``(n_users,)``, an index of ``names``.
        names: of the groups, in order; those without a user are left out.
    """
    groups, per_user = [], evaluation.per_user.items()
    for label, name in enumerate(names):
        is_in = labels == label
        if is_in.any():
            means = mean_over_users({metric: values[is_in] for metric, values in per_user})
            groups.append(Group(name, int(is_in.sum()), means))
    return Grouping(by, groups)


def group_by_history(evaluation: Evaluation) -> Grouping:
    """Users by their number of training interactions."""
    labels = np.searchsorted(HISTORY_BOUNDS, evaluation.n_history, side="right")
    starts = (0, *HISTORY_BOUNDS)
    names = [f"{a}-{b - 1}" for a, b in zip(starts, HISTORY_BOUNDS, strict=False)]
    return group_users(evaluation, "history", labels, [*names, f"{HISTORY_BOUNDS[-1]}+"])


def group_by_activity(evaluation: Evaluation) -> Grouping:
    """Users by quartiles of the number of training interactions; equal numbers stay together."""
    ordered = np.sort(evaluation.n_history)
    cuts = [ordered[len(ordered) * part // N_QUANTILES] for part in range(1, N_QUANTILES)]
    parts = np.searchsorted(np.unique(cuts), evaluation.n_history, side="right")
    labels = np.unique(parts, return_inverse=True)[1]
    names = []
    for label in range(int(labels.max()) + 1):
        own = evaluation.n_history[labels == label]
        names.append(f"Q{label + 1} ({own.min()}-{own.max()})")
    return group_users(evaluation, "activity", labels, names)


def group_by_values(evaluation: Evaluation, by: str, values: Sequence[str | None]) -> Grouping:
    """Users by a value of each ``(n_users,)``; those without one are a group of their own."""
    texts = [NOBODY if value is None else value for value in values]
    names = sorted(set(texts), key=lambda text: (text == NOBODY, text))
    place = {name: number for number, name in enumerate(names)}
    return group_users(evaluation, by, np.array([place[text] for text in texts]), names)


def popularity_tiers(train: csr_matrix) -> np.ndarray:
    """Tier of each item, an index of TIERS ``(n_items,)``.

    The most popular items that together have a third of the training interactions are the head,
    those that have the next third the middle, the others the tail. Equal ones are in order.
    """
    counts = train.getnnz(axis=0)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    tiers = np.empty(len(counts), dtype=np.int64)
    tiers[order] = np.minimum(before * 3 // max(int(counts.sum()), 1), 2)
    tiers[counts == 0] = 2
    return tiers


@dataclass(frozen=True)
class TierAccuracy:
    """A measure: accuracy where only the targets of a tier count, for each tier."""

    tiers: np.ndarray
    """Tier of each item ``(n_items,)``."""

    @property
    def names(self) -> list[str]:
        """Metrics of the tiers; no metric of users has such a name."""
        return [f"{tier}/{name}" for tier in TIERS for name in ACCURACY]

    def values(self, batch: Batch, k: int) -> np.ndarray:
        """``(n, n_names)``; NaN for a user without a target in the tier."""
        parts = []
        for number in range(len(TIERS)):
            own = csr_matrix(batch.targets @ diags((self.tiers == number).astype(np.float32)))
            own.eliminate_zeros()
            has_target = np.diff(own.indptr) > 0
            found = np.full((len(batch.users), len(ACCURACY)), np.nan)
            if has_target.any():
                values = accuracy(batch.lists[has_target], own[has_target], [k])
                found[has_target] = np.array(list(values.values())).T
            parts.append(found)
        return np.concatenate(parts, axis=1)


def group_items(evaluation: Evaluation, tiers: np.ndarray) -> tuple[Evaluation, Grouping]:
    """Targets by the popularity of the item, and the share of the entries that each tier has.

    Args:
        evaluation: one with the measure :class:`TierAccuracy`.
        tiers: tier of each item ``(n_items,)``.

    Returns:
        The evaluation without the values of that measure, and the groups.
    """
    groups = []
    for number, tier in enumerate(TIERS):
        prefix = f"{tier}/"
        own = {
            name.removeprefix(prefix): values
            for name, values in evaluation.per_user.items()
            if name.startswith(prefix)
        }
        metrics = mean_over_users(own)
        for k, counts in evaluation.item_counts.items():
            if counts.sum():
                metrics[f"{SHARE}@{k}"] = float(counts[tiers == number].sum() / counts.sum())
        n_users = int((~np.isnan(next(iter(own.values())))).sum())
        name = f"{tier} ({int((tiers == number).sum()):,} items)"
        groups.append(Group(name, n_users, metrics))
    rest = replace(
        evaluation,
        per_user={name: v for name, v in evaluation.per_user.items() if "/" not in name},
        metrics={name: v for name, v in evaluation.metrics.items() if "/" not in name},
    )
    return rest, Grouping("target items", groups)
