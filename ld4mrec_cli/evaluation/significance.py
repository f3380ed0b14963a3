"""Tests of differences between recommenders (how to read them: docs/compare.md).

All tests are paired over users: they compare the gain or loss of each user, not two averages. The
mean difference decides. Ranks (Wilcoxon) are information: where differences are skewed, they reject
though the mean is zero (Ihemelandu and Ekstrand, SIGIR 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.stats import rankdata, wilcoxon

from ld4mrec_cli.evaluation.bootstrap import ResampledMeans, resample
from ld4mrec_cli.evaluation.fold_difference import FoldSample, fold_difference, resample_folds
from ld4mrec_cli.evaluation.mean_difference import MeanDifference, Sample, differences

ALPHA = 0.05
"""A difference is called significant below this p; intervals hold 1 - ALPHA."""
RESAMPLES = 10_000
"""Bootstrap resamples."""
Samples = Sequence[Sample] | Sequence[FoldSample]
"""Values of recommenders: of trainings on one dataset, or of folds."""


@dataclass(frozen=True)
class PairedTest:
    """Recommender a against b over the same users; differences are a - b."""

    a: int
    b: int
    """Places among the compared recommenders."""
    difference: float
    """Mean difference."""
    low: float
    high: float
    """Bootstrap interval of the mean difference, over users and seeds."""
    over_seeds: bool
    """Whether the chance of seeds is in test and interval; else they hold for these runs alone."""
    p: float
    """Test of the mean difference (:mod:`.mean_difference`), two-sided, of this pair alone."""
    p_holm: float
    """The same, corrected for all pairs and metrics."""
    detectable: float | None
    """The smallest true difference that the corrected test would probably show."""
    wilcoxon_p: float
    """Wilcoxon signed-rank test, two-sided; no verdict rests on it."""
    rank_balance: float
    """:func:`rank_balance`: 1 where every difference favors a, -1 where every one favors b."""
    a_better: int
    b_better: int
    equal: int
    """Users by the sign of their difference."""

    @property
    def is_significant(self) -> bool:
        """The corrected p is below ALPHA, and the interval lies on the side of the mean."""
        one_side = self.low > 0 if self.difference > 0 else self.high < 0
        return self.p_holm < ALPHA and one_side


def compare_all(
    metrics: Mapping[str, Samples],
    seed: int = 0,
    resamples: int = RESAMPLES,
    pairs: Mapping[str, Sequence[tuple[int, int]]] | None = None,
) -> dict[str, list[PairedTest]]:
    """Test every pair of recommenders in every metric.

    Args:
        metrics: samples of the recommenders, in one order and over the same users (and folds), by
            metric.
        seed: of the bootstrap; every metric has the same draws.
        resamples: of the bootstrap.
        pairs: by metric the places ``(a, b)`` to test, where they were chosen before any value was
            seen; None takes every pair ``a < b``.

    Returns:
        By metric, a test for each pair. Holm's correction covers all pairs and metrics,
        since readers pick both by the same values.
    """
    found = {
        name: _test_pairs(samples, seed, resamples, None if pairs is None else pairs[name])
        for name, samples in metrics.items()
    }
    family = [(test, mean) for tests in found.values() for test, mean in tests]
    corrected = iter(holm(np.array([test.p for test, _ in family])))
    alpha = ALPHA / max(len(family), 1)
    return {
        name: [
            replace(test, p_holm=float(next(corrected)), detectable=mean.detectable(alpha))
            for test, mean in tests
        ]
        for name, tests in found.items()
    }


def _test_pairs(
    samples: Samples,
    seed: int,
    resamples: int,
    pairs: Sequence[tuple[int, int]] | None,
) -> list[tuple[PairedTest, MeanDifference]]:
    """Tests without a correction."""
    if len(samples) < 2:
        return []
    generator = np.random.default_rng(seed)
    if pairs is None:
        pairs = list(combinations(range(len(samples)), 2))
    folds = [one for one in samples if isinstance(one, FoldSample)]
    trainings = [one for one in samples if isinstance(one, Sample)]
    if folds:
        drawn = resample_folds(folds, generator, resamples)
        means = [fold_difference(folds[a], folds[b]) for a, b in pairs]
    else:
        drawn = resample(trainings, generator, resamples)
        means = [MeanDifference.of(trainings[a], trainings[b]) for a, b in pairs]
    return [
        (_test_pair(samples, a, b, mean, drawn), mean)
        for (a, b), mean in zip(pairs, means, strict=True)
    ]


def _test_pair(
    samples: Samples, a: int, b: int, mean: MeanDifference, drawn: ResampledMeans
) -> PairedTest:
    gains = differences(samples[a].per_user, samples[b].per_user)
    low, high = drawn.interval(a, b, ALPHA, mean.seed_widening(ALPHA))
    return PairedTest(
        a=a,
        b=b,
        difference=mean.mean,
        low=low,
        high=high,
        over_seeds=samples[a].seed_variance_is_known and samples[b].seed_variance_is_known,
        p=mean.p,
        p_holm=mean.p,
        detectable=None,
        wilcoxon_p=wilcoxon_p(gains),
        rank_balance=rank_balance(gains),
        a_better=int((gains > 0).sum()),
        b_better=int((gains < 0).sum()),
        equal=int((gains == 0).sum()),
    )


def wilcoxon_p(gains: np.ndarray) -> float:
    """Two-sided p of the Wilcoxon signed-rank test on differences ``(n_users,)``.

    Zeros are left out, as by Wilcoxon; without other differences, p is 1.
    """
    gains = gains[gains != 0.0]
    return float(wilcoxon(gains).pvalue) if len(gains) else 1.0


def rank_balance(gains: np.ndarray) -> float:
    """Rank-biserial correlation of differences ``(n_users,)``: (W+ - W-) / (W+ + W-), -1 to 1.

    Zeros are left out.
    """
    gains = gains[gains != 0.0]
    ranks = rankdata(np.abs(gains))
    return float((ranks * np.sign(gains)).sum() / ranks.sum()) if len(gains) else 0.0


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p-values ``(n,)``.

    The probability of any false alarm among them stays below ALPHA.
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    p_holm = np.empty(len(p))
    p_holm[order] = np.minimum(steps, 1.0)
    return p_holm
