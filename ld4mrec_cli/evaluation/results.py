"""What an evaluation finds: values of users, means, and means of groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

SHARE = "share"
"""Metric of a group of items: its share of the entries of all lists."""


@dataclass(frozen=True)
class Group:
    """Users, or targets, of one kind."""

    name: str
    n_users: int
    """Users in it; of items, users with a target in it."""
    metrics: dict[str, float]
    """Metric, e.g. ``recall@20`` → mean over these users."""


@dataclass(frozen=True)
class Gap:
    """How far the groups are apart in a metric; none is 0 and 1."""

    difference: float
    """Highest minus lowest."""
    ratio: float | None
    """Lowest over highest; None where all are 0."""


@dataclass(frozen=True)
class Grouping:
    """Groups of one kind."""

    by: str
    groups: list[Group]

    @property
    def gaps(self) -> dict[str, Gap]:
        """Gap by metric, of those that at least two groups have."""
        names = dict.fromkeys(name for group in self.groups for name in group.metrics)
        found = {}
        for name in names:
            values = [group.metrics[name] for group in self.groups if name in group.metrics]
            if len(values) > 1 and not name.startswith(f"{SHARE}@"):
                ratio = min(values) / max(values) if max(values) > 0.0 else None
                found[name] = Gap(max(values) - min(values), ratio)
        return found


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one recommender on one split."""

    users: np.ndarray
    """Users that count: those with at least one target, ``(n_users,)``."""
    per_user: dict[str, np.ndarray]
    """Metric of users, e.g. ``recall@20`` → value of each user, ``(n_users,)``; NaN where a
    measure beside the accuracy has none."""
    metrics: dict[str, float]
    """Means of these over the users that have one, and the metrics of the lists as a whole."""
    n_history: np.ndarray
    """Training interactions of each user, ``(n_users,)``."""
    n_targets: np.ndarray
    """Items to find of each user, ``(n_users,)``."""
    item_counts: dict[int, np.ndarray]
    """Cutoff → lists that hold each item, ``(n_items,)``."""
    groups: list[Grouping] = field(default_factory=list)
    """Means of groups of users and items, where they are asked for."""


def mean_over_users(per_user: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean of each metric over the users that have a value; none where no user has one."""
    means: dict[str, float] = {}
    for name, values in per_user.items():
        is_there = ~np.isnan(values)
        if is_there.all() and len(values):
            means[name] = float(values.mean())
        elif is_there.any():
            means[name] = float(values[is_there].mean())
    return means
