"""Relative losses of noisy runs against clean ones, with values per user that can be tested.

The ratio r of two means over users is no mean over users; its linear part is (delta method):

    1 - r  =  mean over u of  1 - r - (noisy_u - r clean_u) / mean(clean)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t

from ld4mrec_cli.evaluation.mean_difference import Sample
from ld4mrec_cli.experiments.study.measure import Measured


@dataclass(frozen=True)
class Loss:
    """Relative loss of one system under one noise."""

    sample: Sample
    """Linear part per seed and user; its mean is the loss."""
    seeds: Sequence[int]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.sample.values.mean())

    def as_json(self) -> dict[str, Any]:
        """Loss of each seed."""
        means = self.sample.values.mean(axis=1).tolist()
        by_seed = {str(seed): mean for seed, mean in zip(self.seeds, means, strict=True)}
        return {"loss": self.mean, "by_seed": by_seed}


def relative_loss(
    clean: Sequence[Measured], noisy: Sequence[Measured], metric: str, *, uses_seed: bool
) -> Loss:
    """Loss of every noisy run against the clean one of its seed, or the only one there is."""
    by_seed = {one.seed: one for one in clean}
    only = next(iter(clean)) if len(clean) == 1 else None
    rows, seeds = [], []
    for one in noisy:
        reference = by_seed.get(one.seed, only)
        if reference is not None:
            rows.append(_linear_part(reference.per_user[metric], one.per_user[metric]))
            seeds.append(one.seed)
    return Loss(Sample(np.stack(rows), uses_seed), seeds)


def _linear_part(clean: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Values ``(n_users,)`` whose mean is ``1 - mean(noisy) / mean(clean)``."""
    level = float(clean.mean())
    if level == 0.0:
        return np.zeros_like(clean)
    ratio = float(noisy.mean()) / level
    part: np.ndarray = 1.0 - ratio - (noisy - ratio * clean) / level
    return part


def area(by_level: Mapping[float, Loss]) -> Sample:
    """Mean loss over the levels from 0, where nothing is lost, to the highest (trapezoids).

    Only seeds that all levels have count.
    """
    levels = sorted(by_level)
    seeds = [
        seed
        for seed in by_level[levels[0]].seeds
        if all(seed in by_level[level].seeds for level in levels)
    ]
    parts = []
    edges = [0.0, *levels, levels[-1]]
    for place, level in enumerate(levels, start=1):
        weight = (edges[place + 1] - edges[place - 1]) / (2.0 * levels[-1])
        loss = by_level[level]
        parts.append(weight * loss.sample.values[[loss.seeds.index(seed) for seed in seeds]])
    return Sample(np.sum(parts, axis=0), by_level[levels[0]].sample.uses_seed)


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
