"""Tests of differences between recommenders (how to read them: docs/compare.md).

All tests are paired over users: they compare the gain or loss of each user, not two averages.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import rankdata, wilcoxon

ALPHA = 0.05
"""A difference is called significant below this p; intervals hold 1 - ALPHA."""
RESAMPLES = 10_000
"""Bootstrap resamples of the users."""
RESAMPLE_CHUNK_SIZE = 2**21
"""Most numbers in a chunk of resamples; a chunk has at least one resample."""
DECIMALS = 12
"""Differences are rounded to this, so that rounding errors of sums do not turn ties into wins."""


@dataclass(frozen=True)
class PairedTest:
    """Recommender a against b over the same users; differences are a - b."""

    a: int
    b: int
    """Rows of the compared values."""
    difference: float
    """Mean difference."""
    low: float
    high: float
    """Bootstrap interval of the mean difference."""
    rank_balance: float
    """:func:`rank_balance`: 1 where every difference favors a, -1 where every one favors b."""
    p: float
    """Wilcoxon signed-rank test, two-sided, of this pair alone."""
    p_holm: float
    """The same, corrected for all compared pairs."""
    a_better: int
    b_better: int
    equal: int
    """Users by the sign of their difference."""

    @property
    def is_significant(self) -> bool:
        """The corrected p is below ALPHA, and interval, ranks and mean lie on one side of zero.

        Where few users gain much and many lose little, mean and ranks differ in sign: neither is
        better.
        """
        one_side = (
            self.low > 0 < self.rank_balance
            if self.difference > 0
            else self.high < 0 > self.rank_balance
        )
        return self.p_holm < ALPHA and one_side


def compare_all(
    values: np.ndarray, generator: np.random.Generator, resamples: int = RESAMPLES
) -> list[PairedTest]:
    """Test every pair of recommenders.

    Args:
        values: metric of each recommender for each user, ``(n_recommenders, n_users)``; with
            several seeds, the mean over them.
        generator: draws the users of the resamples; the same ones serve all pairs.

    Returns:
        A test for each pair ``a < b``. Holm's correction covers all pairs, since readers pick pairs
        (such as the best against the rest) by the same values.
    """
    pairs = list(combinations(range(len(values)), 2))
    means = bootstrap_means(values, generator, resamples)
    p_values = np.array([wilcoxon_p(differences(values[a], values[b])) for a, b in pairs])
    tests = []
    for (a, b), p, p_holm in zip(pairs, p_values, holm(p_values), strict=True):
        gains = differences(values[a], values[b])
        low, high = percentile_interval(differences(means[:, a], means[:, b]))
        signs = {
            "a_better": int((gains > 0).sum()),
            "b_better": int((gains < 0).sum()),
            "equal": int((gains == 0).sum()),
        }
        mean = float(np.round(values[a].mean() - values[b].mean(), DECIMALS))
        tests.append(
            PairedTest(a, b, mean, low, high, rank_balance(gains), float(p), float(p_holm), **signs)
        )
    return tests


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a - b``, without rounding errors."""
    return np.round(np.asarray(a, dtype=np.float64) - b, DECIMALS)


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


def percentile_interval(means: np.ndarray) -> tuple[float, float]:
    """The interval that holds the middle 1 - ALPHA of bootstrap ``means`` ``(resamples,)``."""
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p-values ``(n,)``.

    The probability of any false alarm among them stays below ALPHA.
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    p_holm = np.empty(len(p))
    p_holm[order] = np.minimum(steps, 1.0)
    return p_holm
