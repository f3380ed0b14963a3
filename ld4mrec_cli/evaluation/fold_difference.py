"""Test of the mean difference of two recommenders over users and folds (docs/compare.md).

A user is in several folds and counts once: the users are clusters. The folds' trainings share data,
so their means vary less among each other than from their common mean; the variance over folds is
therefore multiplied by 1 / n_folds + n_test / n_train in place of 1 / n_folds (Nadeau and Bengio,
Machine Learning 2003). Both recommenders are trained and tested on the same folds, so it is the
variance of their difference. The two parts are added as those of users and seeds are
(:mod:`.mean_difference`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ld4mrec_cli.evaluation.bootstrap import ResampledMeans, bootstrap_means
from ld4mrec_cli.evaluation.mean_difference import MeanDifference, differences


@dataclass(frozen=True)
class FoldSample:
    """Values of one recommender in several folds; of several seeds the mean."""

    values: np.ndarray
    """A metric per fold and user ``(n_folds, n_users)``; NaN where a user has no target."""
    overlap: float
    """Tested over training interactions, the mean of the folds."""

    @property
    def per_user(self) -> np.ndarray:
        """Means over the folds of each user ``(n_users,)``."""
        return np.nanmean(self.values, axis=0)

    @property
    def seed_variance_is_known(self) -> bool:
        """The variance over folds holds that of other seeds."""
        return True

    @property
    def variance_factor(self) -> float:
        """What the variance over folds is multiplied by to get that of their mean."""
        return 1.0 / len(self.values) + self.overlap


def fold_difference(a: FoldSample, b: FoldSample) -> MeanDifference:
    """The mean over folds of the mean differences ``a - b``, over the same users and folds."""
    gains = differences(a.values, b.values)
    means = np.nanmean(gains, axis=1)
    n_folds, n_users = gains.shape
    sizes = (~np.isnan(gains)).sum(axis=1)
    influence = np.nansum((gains - means[:, None]) / (n_folds * sizes[:, None]), axis=0)
    users = n_users / (n_users - 1) * float((influence**2).sum()) if n_users > 1 else math.inf
    folds = float(np.round(means, 12).var(ddof=1)) * a.variance_factor
    return MeanDifference(
        mean=float(np.round(means.mean(), 12)),
        n_users=n_users,
        n_different=int((np.nan_to_num(gains) != 0).any(axis=0).sum()),
        user_variance=users,
        seed_variance=folds,
        seed_df=n_folds - 1 if folds else math.inf,
    )


def resample_folds(
    samples: Sequence[FoldSample], generator: np.random.Generator, resamples: int
) -> ResampledMeans:
    """Draw users, then folds; the same draws serve all recommenders."""
    n_folds = len(samples[0].values)
    is_there = ~np.isnan(samples[0].values)
    rows = [np.nan_to_num(sample.values) for sample in samples]
    drawn = bootstrap_means(
        np.concatenate([*rows, is_there.astype(np.float64)]), generator, resamples
    )
    sizes = drawn[:, -n_folds:]
    folds = generator.integers(n_folds, size=(resamples, n_folds))
    means, deviations = [], []
    for place, sample in enumerate(samples):
        sums = drawn[:, place * n_folds : (place + 1) * n_folds]
        whole = np.broadcast_to(np.nanmean(sample.values, axis=1), sums.shape)
        # A fold none of whose users was drawn keeps its mean.
        of_folds = np.divide(sums, sizes, out=whole.copy(), where=sizes > 0.0)
        picked = np.take_along_axis(of_folds, folds, axis=1).mean(axis=1)
        # Drawn from n folds, the variance of the mean is (n - 1) / n² of theirs.
        widen = math.sqrt(sample.variance_factor * n_folds**2 / (n_folds - 1))
        means.append(of_folds.mean(axis=1))
        deviations.append(widen * differences(picked, means[-1]))
    return ResampledMeans(np.stack(means, axis=1), np.stack(deviations, axis=1))
