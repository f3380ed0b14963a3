"""Relative losses of noisy runs against clean ones, with values per user that can be tested.

The ratio r of two means over users is no mean over users; its linear part is (delta method):

    1 - r  =  mean over u of  1 - r - (noisy_u - r clean_u) / mean(clean)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2, t

from ld4mrec_cli.evaluation.mean_difference import Sample


@dataclass(frozen=True)
class Loss:
    """Relative loss of one system under noise, which is drawn anew for every seed."""

    by_seed: Mapping[int, np.ndarray]
    """Linear part of each user ``(n_users,)`` by seed, at least one; its mean is the loss."""

    @property
    def sample(self) -> Sample:
        """Linear parts by seed and user."""
        return Sample(np.stack(list(self.by_seed.values())))

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.sample.values.mean())

    def as_json(self) -> dict[str, Any]:
        """Loss of each seed."""
        by_seed = {str(seed): float(part.mean()) for seed, part in self.by_seed.items()}
        return {"loss": self.mean, "by_seed": by_seed}


def relative_loss(
    clean: Mapping[int, np.ndarray], noisy: Mapping[int, np.ndarray], *, clean_uses_seed: bool
) -> Loss | None:
    """Loss of every noisy run against the clean run of its seed; None where no seed has both.

    Args:
        clean: values of the users ``(n_users,)`` by seed.
        noisy: likewise.
        clean_uses_seed: whether the clean run differs by seed; if not, there is only one.
    """
    if not clean_uses_seed:
        clean = dict.fromkeys(noisy, next(iter(clean.values())))
    parts = {
        seed: _linear_part(clean[seed], values) for seed, values in noisy.items() if seed in clean
    }
    return Loss(parts) if parts else None


def _linear_part(clean: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Values ``(n_users,)`` whose mean is ``1 - mean(noisy) / mean(clean)``."""
    level = float(clean.mean())
    if level == 0.0:
        return np.zeros_like(clean)
    ratio = float(noisy.mean()) / level
    part: np.ndarray = 1.0 - ratio - (noisy - ratio * clean) / level
    return part


def area(by_level: Mapping[float, Loss]) -> Loss | None:
    """Mean loss over the levels from 0, where nothing is lost, to the highest (trapezoids).

    Only seeds that all levels have count; None where there is none.
    """
    levels = sorted(by_level)
    edges = [0.0, *levels, levels[-1]]
    weights = {
        level: (edges[place + 1] - edges[place - 1]) / (2.0 * levels[-1])
        for place, level in enumerate(levels, start=1)
    }
    parts: dict[int, np.ndarray] = {
        seed: np.sum([weights[level] * by_level[level].by_seed[seed] for level in levels], axis=0)
        for seed in by_level[levels[0]].by_seed
        if all(seed in by_level[level].by_seed for level in levels)
    }
    return Loss(parts) if parts else None


def interval(sample: Sample, alpha: float) -> tuple[float, float]:
    """Interval of the mean of a sample over users and seeds; over users alone with one seed."""
    values = sample.per_user
    users = values.var(ddof=1) / len(values) * t.isf(alpha / 2, len(values) - 1) ** 2
    seeds = 0.0
    if sample.seed_variance:
        seeds = sample.seed_variance * t.isf(alpha / 2, len(sample.values) - 1) ** 2
    margin = math.sqrt(users + seeds)
    mean = float(values.mean())
    return mean - margin, mean + margin


def deviation_interval(deviation: float, n: int, alpha: float) -> tuple[float, float]:
    """Interval of a standard deviation that was estimated from ``n`` normal values, at least 2."""
    bounds = chi2.isf([alpha / 2, 1 - alpha / 2], n - 1)
    low, high = deviation * np.sqrt((n - 1) / bounds)
    return float(low), float(high)
