"""Bootstrap over users and seeds: intervals of the mean difference of two recommenders.

Each resample draws users with replacement, the same for all trainings, and for each recommender
seeds with replacement (the pigeonhole bootstrap, Owen, Annals of Applied Statistics 2007). Drawn
from n seeds, the variance comes out (n - 1) / n of what it is, and the few values have no tails; so
deviations by seeds are widened by sqrt(n / (n - 1)) and by t / z of their degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ld4mrec_cli.evaluation.mean_difference import Sample, differences

RESAMPLE_CHUNK_SIZE = 2**21
"""Most numbers in a chunk of resamples; a chunk has at least one resample."""


@dataclass(frozen=True)
class ResampledMeans:
    """Resamples of every recommender, ``(n_resamples, n_recommenders)`` each."""

    means: np.ndarray
    """Means over the drawn users and all seeds."""
    deviations: np.ndarray
    """What drawing the seeds adds, with the variance of their mean."""

    def interval(self, a: int, b: int, alpha: float, widening: float) -> tuple[float, float]:
        """The middle ``1 - alpha`` of ``a - b``; ``widening`` multiplies deviations by seeds."""
        moved = differences(self.means[:, a], self.means[:, b])
        if self.deviations[:, [a, b]].any():
            moved = moved + widening * (self.deviations[:, a] - self.deviations[:, b])
        low, high = np.quantile(moved, [alpha / 2, 1 - alpha / 2])
        return float(low), float(high)


def resample(
    samples: Sequence[Sample], generator: np.random.Generator, resamples: int
) -> ResampledMeans:
    """Draw users, then the seeds of each recommender; the same draws serve all pairs."""
    runs = np.concatenate([sample.values for sample in samples])
    by_run = bootstrap_means(runs, generator, resamples)
    means, deviations, start = [], [], 0
    for sample in samples:
        n_seeds = len(sample.values)
        own = by_run[:, start : start + n_seeds]
        means.append(own.mean(axis=1))
        deviations.append(_seed_deviations(own, sample, generator))
        start += n_seeds
    return ResampledMeans(np.stack(means, axis=1), np.stack(deviations, axis=1))


def _seed_deviations(
    means: np.ndarray, sample: Sample, generator: np.random.Generator
) -> np.ndarray:
    """Mean over drawn seeds minus that over all, from ``means`` ``(n_resamples, n_seeds)``."""
    resamples, n_seeds = means.shape
    if n_seeds < 2 or not sample.uses_seed:
        return np.zeros(resamples)
    drawn = generator.integers(n_seeds, size=(resamples, n_seeds))
    picked = np.take_along_axis(means, drawn, axis=1).mean(axis=1)
    return math.sqrt(n_seeds / (n_seeds - 1)) * differences(picked, means.mean(axis=1))


def bootstrap_means(
    values: np.ndarray, generator: np.random.Generator, resamples: int
) -> np.ndarray:
    """Means of ``values`` ``(n, n_users)`` over users drawn with replacement, ``(resamples, n)``.

    A resample counts how often each user was drawn, so that one product serves all rows.
    """
    n_users = values.shape[1]
    size = max(1, RESAMPLE_CHUNK_SIZE // n_users)
    parts = []
    for start in range(0, resamples, size):
        n = min(size, resamples - start)
        users = generator.integers(n_users, size=(n, n_users))
        users += np.arange(n)[:, None] * n_users
        counts = np.bincount(users.ravel(), minlength=n * n_users).reshape(n, n_users)
        parts.append(counts.astype(np.float64) @ values.T / n_users)
    return np.concatenate(parts)
