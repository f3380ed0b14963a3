"""Test of the mean difference of two recommenders over users and seeds (docs/compare.md).

A value is of a user and a training. Both are samples: other users would have come, and another seed
would have given other weights. The mean difference varies with both, so its variance has parts:

    V_users = variance over users of the difference of seed means / n_users
    V_seeds = sum over both recommenders of the variance over seeds of the mean / n_seeds

Their sum is never too small in expectation, since the noise of a user in a training is in both
(as in min F', Clark, J. Verbal Learning and Verbal Behavior 1973). Seeds are few, so V_seeds is
badly known, and a normal or Satterthwaite approximation to the whole says "different" too often. As
in Banerjee (Sankhya 1961) each part has the quantile of its own degrees of freedom instead:

    |mean|² > t²(n_users - 1) V_users + t²(nu) V_seeds

whose level holds for any ratio of the parts. Between the two recommenders, whose seeds may vary
unequally, nu is Welch's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

DECIMALS = 12
"""Differences are rounded to this, so that rounding errors of sums do not turn ties into wins."""
POWER = 0.8
"""A detectable difference is found with this probability."""
SMALLEST_P = 1e-15
"""Smaller values of p are not told apart."""
QUANTILES = (np.arange(50) + 0.5) / 50
"""Where the distribution of the seeds' variance is looked at to find the power."""


@dataclass(frozen=True)
class Sample:
    """Values of one recommender."""

    values: np.ndarray
    """A metric per training and user, ``(n_seeds, n_users)``."""
    uses_seed: bool = True
    """Whether another seed gives other values; a closed-form model has one training and none."""

    @property
    def per_user(self) -> np.ndarray:
        """Means over seeds ``(n_users,)``."""
        return self.values.mean(axis=0)

    @property
    def seed_variance_is_known(self) -> bool:
        """Whether the variance over seeds is zero by nature or can be estimated."""
        return not self.uses_seed or len(self.values) > 1

    @property
    def seed_variance(self) -> float:
        """Estimated variance of the mean over its seeds; 0 where it is not known."""
        n_seeds = len(self.values)
        if not self.uses_seed or n_seeds < 2:
            return 0.0
        means = np.round(self.values.mean(axis=1), DECIMALS)
        return float(means.var(ddof=1) / n_seeds)


def pair_seeds(
    a: Mapping[int, np.ndarray],
    b: Mapping[int, np.ndarray],
    *,
    a_uses_seed: bool = True,
    b_uses_seed: bool = True,
) -> Sample | None:
    """Differences ``a - b`` of the trainings of one seed, which belong together.

    Equal seeds share a draw: the weights, the noise in the data, the items that were left out. What
    they share is in the difference no more, and no longer in its variance. Tested against
    :func:`no_difference`, the seeds have n - 1 degrees of freedom.

    Args:
        a: values ``(n_users,)`` by seed; of one that uses no seed, the only ones.
        b: likewise, over the same users.
        a_uses_seed: whether another seed gives ``a`` other values.
        b_uses_seed: likewise.

    Returns:
        None where no seed is in both.
    """
    if not a_uses_seed:
        a = dict.fromkeys(b if b_uses_seed else a, next(iter(a.values())))
    if not b_uses_seed:
        b = dict.fromkeys(a, next(iter(b.values())))
    shared = [seed for seed in a if seed in b]
    if not shared:
        return None
    values = np.stack([differences(a[seed], b[seed]) for seed in shared])
    return Sample(values, a_uses_seed or b_uses_seed)


def no_difference(sample: Sample) -> Sample:
    """What a sample of differences is tested against: zeros, without a seed."""
    return Sample(np.zeros((1, sample.values.shape[1])), uses_seed=False)


@dataclass(frozen=True)
class MeanDifference:
    """The mean difference of two recommenders, and the parts of its variance."""

    mean: float
    n_users: int
    n_different: int
    """Users whose values differ."""
    user_variance: float
    seed_variance: float
    seed_df: float
    """Welch's degrees of freedom of ``seed_variance``; infinite where that is 0."""

    @classmethod
    def of(cls, a: Sample, b: Sample) -> MeanDifference:
        """Of ``a - b``, over the same users."""
        gains = differences(a.per_user, b.per_user)
        n_users = len(gains)
        parts = [(one.seed_variance, len(one.values) - 1) for one in (a, b)]
        spread = sum(variance**2 / df for variance, df in parts if variance)
        seed_variance = sum(variance for variance, _ in parts)
        return cls(
            mean=float(np.round(gains.mean(), DECIMALS)),
            n_users=n_users,
            n_different=int((gains != 0).sum()),
            user_variance=float(gains.var(ddof=1) / n_users) if n_users > 1 else math.inf,
            seed_variance=seed_variance,
            seed_df=seed_variance**2 / spread if spread else math.inf,
        )

    def margin(self, alpha: float) -> float:
        """Largest absolute mean that is no evidence at level ``alpha``."""
        return float(self._margins(alpha, np.array(1.0)))

    def _margins(self, alpha: float, scale: np.ndarray) -> np.ndarray:
        """The margins if the variance of the seeds is ``scale`` times what it is."""
        users = t.isf(alpha / 2, max(self.n_users - 1, 1)) ** 2 * self.user_variance
        if not self.seed_variance:
            return np.sqrt(users * np.ones_like(scale))
        return np.sqrt(users + t.isf(alpha / 2, self.seed_df) ** 2 * self.seed_variance * scale)

    @property
    def p(self) -> float:
        """Two-sided p: the lowest level whose margin the mean exceeds.

        At least ``2 / 2**n_different``, which is the least that a sign-flip permutation can give:
        two users with one and the same gain are no proof, though they have no variance.
        """
        if not self.mean or self.n_users < 2:
            return 1.0
        floor = max(2.0 ** (1 - min(self.n_different, 1000)), SMALLEST_P)
        if abs(self.mean) >= self.margin(floor):
            return floor

        def excess(log_alpha: float) -> float:
            return self.margin(math.exp(log_alpha)) - abs(self.mean)

        return math.exp(brentq(excess, math.log(floor), 0.0, xtol=1e-10))

    def detectable(self, alpha: float) -> float | None:
        """About the smallest true difference that is found at ``alpha`` with probability POWER.

        The variances are taken as they were estimated; another sample of seeds would estimate a
        chi-square multiple of theirs. None for fewer than two users.
        """
        if self.n_users < 2:
            return None
        error = math.sqrt(self.user_variance + self.seed_variance)
        if not error:
            return 0.0
        known = math.isinf(self.seed_df)
        scales = np.ones(1) if known else chi2.ppf(QUANTILES, self.seed_df) / self.seed_df
        margins = self._margins(alpha, scales)

        def missing_power(difference: float) -> float:
            return POWER - float(norm.cdf((difference - margins) / error).mean())

        return float(brentq(missing_power, 0.0, margins.max() + 2.0 * error))

    def seed_widening(self, alpha: float) -> float:
        """How much wider the t of the seeds makes an interval than a normal one."""
        if not self.seed_variance:
            return 1.0
        return float(t.isf(alpha / 2, self.seed_df) / norm.isf(alpha / 2))


def differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a - b``, without rounding errors."""
    return np.round(np.asarray(a, dtype=np.float64) - b, DECIMALS)
