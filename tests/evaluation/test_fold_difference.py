"""The test over folds: its parts, its special cases, and how often it errs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from ld4mrec_cli.evaluation.fold_difference import FoldSample, fold_difference, resample_folds
from ld4mrec_cli.evaluation.mean_difference import MeanDifference, Sample
from ld4mrec_cli.evaluation.significance import compare_all

NAN = np.nan


def test_a_known_answer_with_users_who_are_in_some_folds():
    a = FoldSample(np.array([[0.5, 1.0, NAN], [0.7, NAN, 0.1]]), overlap=0.25)
    b = FoldSample(np.array([[0.1, 0.8, NAN], [0.1, NAN, 0.1]]), overlap=0.25)
    found = fold_difference(a, b)
    # Gains: fold 1: 0.4, 0.2, mean 0.3; fold 2: 0.6, 0.0, mean 0.3.
    assert found.mean == pytest.approx(0.3)
    assert found.seed_variance == 0.0
    influence = [(0.1 + 0.3) / 4, -0.1 / 4, -0.3 / 4]
    assert found.user_variance == pytest.approx(3 / 2 * sum(one**2 for one in influence))
    assert (found.n_users, found.n_different) == (3, 2)
    assert a.per_user == pytest.approx([0.6, 1.0, 0.1])


def test_the_variance_over_folds_is_that_of_the_difference_and_knows_the_overlap():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=(4, 1))  # a hard fold is hard for both
    noise = rng.normal(size=(2, 4, 50)) * 0.1
    a, b = (FoldSample(hard + own, overlap=1 / 3) for own in noise)
    found = fold_difference(a, b)
    means = (a.values - b.values).mean(axis=1)
    assert found.seed_variance == pytest.approx(means.var(ddof=1) * (1 / 4 + 1 / 3))
    assert found.seed_df == 3
    gains = (a.values - b.values).mean(axis=0)
    assert found.user_variance == pytest.approx(gains.var(ddof=1) / 50)
    level = 0.01
    margin = t.isf(level / 2, 49) ** 2 * found.user_variance
    margin += t.isf(level / 2, 3) ** 2 * found.seed_variance
    assert found.margin(level) == pytest.approx(margin**0.5)


def test_equal_folds_without_overlap_are_the_paired_test_of_one():
    rng = np.random.default_rng(1)
    values = rng.random((2, 80))
    folds = fold_difference(*(FoldSample(np.tile(one, (3, 1)), 0.5) for one in values))
    alone = MeanDifference.of(*(Sample(one[None], False) for one in values))
    assert folds.p == pytest.approx(alone.p)
    assert folds.mean == pytest.approx(alone.mean)


def test_the_bootstrap_has_the_spread_of_the_test():
    rng = np.random.default_rng(2)
    gone = rng.random((5, 400)) < 0.3
    shift = rng.normal(size=(2, 5, 1)) * 0.02
    values = rng.random((2, 5, 400)) * 0.3 + shift
    a, b = (FoldSample(np.where(gone, NAN, one), 0.25) for one in values)
    drawn = resample_folds([a, b], np.random.default_rng(0), 4000)
    found = fold_difference(a, b)
    of_users = drawn.means[:, 0] - drawn.means[:, 1]
    assert of_users.mean() == pytest.approx(found.mean, abs=2e-3)
    assert of_users.var() == pytest.approx(found.user_variance, rel=0.1)
    by_folds = drawn.deviations[:, 0] - drawn.deviations[:, 1]
    assert by_folds.var() > found.seed_variance * 0.9  # users drawn anew move folds, too


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.004, 0.02])
def test_equal_models_are_seldom_called_different(spread):
    """Folds whose trainings share data: effects of folds correlate by the share of the test."""
    rng = np.random.default_rng(3)
    n_folds, n_users, n_trials = 5, 600, 400
    correlation = 1 / n_folds
    wrong = 0
    for _ in range(n_trials):
        taste = rng.exponential(0.1, n_users) - 0.1  # skewed, and the same in all folds
        shared = rng.normal() * correlation**0.5
        own = rng.normal(size=n_folds) * (1 - correlation) ** 0.5
        gains = taste + spread * (shared + own)[:, None] + rng.normal(size=(n_folds, n_users)) * 0.2
        gains[rng.random(gains.shape) < 0.3] = NAN
        gains[0, np.isnan(gains).all(axis=0)] = 0.0
        a, b = FoldSample(gains, 1 / (n_folds - 1)), FoldSample(gains * 0.0, 1 / (n_folds - 1))
        wrong += fold_difference(a, b).p < 0.05
    assert wrong / n_trials <= 0.07


def test_a_clear_difference_in_all_folds_is_found():
    rng = np.random.default_rng(4)
    base = rng.random((5, 300))
    samples = [FoldSample(base, 0.25), FoldSample(base - 0.05 - rng.random((5, 300)) * 0.02, 0.25)]
    (test,) = compare_all({"ndcg@20": samples}, resamples=500)["ndcg@20"]
    assert test.is_significant
    assert test.over_seeds
    assert test.low <= test.difference <= test.high
    assert (test.a_better, test.b_better) == (300, 0)
