"""The test of a mean difference over users and seeds, on data whose truth is known.

Simulated are recommenders without a difference: 2,000 users, differences that are skewed, seeds
that move the mean. Whoever looks at the users alone finds most of them different.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from ld4mrec_cli.evaluation.bootstrap import resample
from ld4mrec_cli.evaluation.mean_difference import MeanDifference, Sample, no_difference, pair_seeds
from ld4mrec_cli.evaluation.significance import ALPHA, compare_all

N_USERS = 2000
REPETITIONS = 400


def copies(rng, n_seeds, seed_deviation, n_copies=2, shift=0.0):
    """Recommenders with one and the same true mean; ``shift`` is added to the first.

    What suits a user differs between them: most lose a little and few gain much. A training adds
    its luck to all users, and more to each.
    """
    users = 0.5 * rng.beta(0.3, 2.0, N_USERS)
    samples = []
    for number in range(n_copies):
        own = 0.15 * (rng.exponential(size=N_USERS) - 1.0) if number % 2 == 0 else 0.0
        luck = rng.normal(0.0, seed_deviation, (n_seeds, 1))
        noise = 0.1 * (rng.exponential(size=(n_seeds, N_USERS)) - 1.0)
        samples.append(Sample(users + own + luck + noise + (shift if number == 0 else 0.0)))
    return samples


@pytest.mark.slow
@pytest.mark.parametrize("seed_deviation", [0.004, 0.02])
@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_equal_recommenders_are_rarely_called_better(n_seeds, seed_deviation):
    rng = np.random.default_rng(n_seeds)
    by_users_alone = better = covered = 0
    for _ in range(REPETITIONS):
        samples = copies(rng, n_seeds, seed_deviation)
        ((found,),) = compare_all({"ndcg@20": samples}, resamples=300).values()
        a, b = (sample.per_user for sample in samples)
        by_users_alone += ttest_rel(a, b).pvalue < ALPHA
        better += found.is_significant
        covered += found.low <= 0.0 <= found.high
    assert better / REPETITIONS <= ALPHA
    assert covered / REPETITIONS >= 1 - ALPHA
    if seed_deviation == 0.02:
        assert by_users_alone / REPETITIONS > 0.25  # why the seeds must be in the test


@pytest.mark.slow
@pytest.mark.parametrize("seed_deviation", [0.004, 0.02])
def test_a_family_of_equal_recommenders_rarely_holds_a_better_one(seed_deviation):
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(REPETITIONS // 2):
        metrics = {name: copies(rng, 3, seed_deviation, n_copies=4) for name in ("recall", "ndcg")}
        found = compare_all(metrics, resamples=2)  # the corrected p is what guards the family
        alarms += any(test.p_holm < ALPHA for tests in found.values() for test in tests)
    assert alarms / (REPETITIONS // 2) <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize(("n_seeds", "seed_deviation"), [(3, 0.004), (5, 0.004), (5, 0.02)])
def test_a_detectable_difference_is_found_about_as_often_as_it_says(n_seeds, seed_deviation):
    rng = np.random.default_rng(n_seeds)
    pairs = [MeanDifference.of(*copies(rng, n_seeds, seed_deviation)) for _ in range(100)]
    shift = float(np.mean([pair.detectable(ALPHA) for pair in pairs]))
    found = [
        MeanDifference.of(*copies(rng, n_seeds, seed_deviation, shift=shift)).p < ALPHA
        for _ in range(200)
    ]
    assert 0.7 <= np.mean(found) <= 0.92


def test_a_corrected_difference_must_be_larger_to_be_detectable():
    pair = MeanDifference.of(*copies(np.random.default_rng(0), 3, 0.004))
    assert pair.margin(ALPHA) < pair.detectable(ALPHA) < pair.detectable(ALPHA / 10)


def test_with_the_seeds_alone_it_is_welchs_test():
    """Where all users move alike, the trainings are the whole sample."""
    rng = np.random.default_rng(2)
    users = rng.random(50)
    a, b = rng.normal(0.0, 0.01, (4, 1)), rng.normal(0.02, 0.05, (6, 1))
    pair = MeanDifference.of(Sample(users + a), Sample(users + b))
    expected = ttest_ind(a.ravel(), b.ravel(), equal_var=False)
    assert pair.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert pair.seed_df == pytest.approx(expected.df)


def test_p_is_the_level_at_which_the_margin_is_the_mean():
    pair = MeanDifference.of(*copies(np.random.default_rng(3), 3, 0.004, shift=0.01))
    assert pair.margin(pair.p) == pytest.approx(abs(pair.mean))


def test_the_margin_holds_both_parts():
    a, b = copies(np.random.default_rng(4), 3, 0.02)
    both = MeanDifference.of(a, b)
    users = MeanDifference.of(Sample(a.per_user[None], False), Sample(b.per_user[None], False))
    assert users.seed_variance == 0.0
    assert both.mean == users.mean
    assert both.margin(ALPHA) > users.margin(ALPHA)


def test_one_seed_says_nothing_of_others():
    a, b = copies(np.random.default_rng(5), 1, 0.02, shift=0.1)
    closed = Sample(b.values, uses_seed=False)
    several = copies(np.random.default_rng(5), 2, 0.02)[0]
    found = compare_all({"ndcg@20": [a, closed, several]}, resamples=50)["ndcg@20"]
    assert [test.over_seeds for test in found] == [False, False, True]
    assert found[0].p == pytest.approx(ttest_rel(a.values[0], b.values[0]).pvalue, rel=1e-6)


@pytest.mark.parametrize("n_users", [1, 2, 3])
def test_few_users_prove_nothing(n_users):
    """Equal gains have no variance; a permutation of their signs still gives 2 / 2^n."""
    rows = np.full((1, n_users), 0.5)
    pair = MeanDifference.of(Sample(rows, False), Sample(np.zeros_like(rows), False))
    assert pair.p == pytest.approx(1.0 if n_users == 1 else 2.0 ** (1 - n_users))


def test_a_single_user_has_no_detectable_difference():
    one = MeanDifference.of(Sample(np.ones((3, 1))), Sample(np.zeros((3, 1))))
    assert (one.p, one.detectable(ALPHA), math.isinf(one.user_variance)) == (1.0, None, True)


def test_resampled_seeds_have_the_variance_of_their_mean():
    rng = np.random.default_rng(6)
    values = rng.normal(0.0, 1.0, (3, 1)) + np.zeros((3, 40))
    drawn = resample([Sample(values), Sample(values, uses_seed=False)], rng, 20_000)
    assert drawn.deviations[:, 0].var() == pytest.approx(Sample(values).seed_variance, rel=0.05)
    assert not drawn.deviations[:, 1].any()


def paired_by_seed(rng, n_seeds, gain):
    """Two readings of the same weights: the luck of a seed moves both, and ``gain`` one of them."""
    luck = rng.normal(0.0, 0.02, (n_seeds, 1))
    base = 0.5 * rng.beta(0.3, 2.0, N_USERS) + luck
    own = rng.normal(0.0, 0.002, (n_seeds, 1)) + 0.02 * rng.normal(size=(n_seeds, N_USERS))
    a, b = dict(enumerate(base + own + gain)), dict(enumerate(base))
    sample = pair_seeds(a, b)
    paired = compare_all({"ndcg@20": [sample, no_difference(sample)]}, resamples=300)["ndcg@20"][0]
    samples = [Sample(np.stack(list(one.values()))) for one in (a, b)]
    apart = compare_all({"ndcg@20": samples}, resamples=300)["ndcg@20"][0]
    return paired, apart


@pytest.mark.slow
@pytest.mark.parametrize("n_seeds", [2, 5])
def test_pairs_of_one_seed_are_rarely_called_different_without_a_difference(n_seeds):
    rng = np.random.default_rng(n_seeds)
    found = [paired_by_seed(rng, n_seeds, 0.0)[0] for _ in range(REPETITIONS)]
    assert np.mean([one.is_significant for one in found]) <= ALPHA
    assert np.mean([one.low <= 0.0 <= one.high for one in found]) >= 1 - ALPHA


def test_what_seeds_share_hides_no_difference():
    rng = np.random.default_rng(0)
    found = [paired_by_seed(rng, 5, 0.01) for _ in range(20)]
    assert all(paired.is_significant for paired, _ in found)
    assert not any(apart.is_significant for _, apart in found)


def test_only_trainings_of_one_seed_are_pairs():
    a = {seed: np.full(3, 0.5 + seed) for seed in (0, 1, 2)}
    b = {seed: np.full(3, 0.25 + seed) for seed in (2, 1, 7)}
    sample = pair_seeds(a, b)
    assert sample.values.tolist() == [[0.25] * 3] * 2
    assert sample.uses_seed
    closed = {0: np.full(3, 0.25)}
    against_closed = pair_seeds(a, closed, b_uses_seed=False)
    assert against_closed.values[:, 0].tolist() == [0.25, 1.25, 2.25]
    assert pair_seeds(closed, a, a_uses_seed=False).values[:, 0].tolist() == [-0.25, -1.25, -2.25]
    both = pair_seeds(closed, closed, a_uses_seed=False, b_uses_seed=False)
    assert (both.values.tolist(), both.uses_seed) == ([[0.0] * 3], False)
    assert pair_seeds(a, {7: b[7]}) is None
