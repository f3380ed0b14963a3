"""Paired tests, against scipy, closed forms and simulated data."""

from __future__ import annotations

import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import bootstrap, ttest_rel, wilcoxon

from ld4mrec_cli.evaluation import bootstrap as bootstrap_module
from ld4mrec_cli.evaluation.bootstrap import bootstrap_means
from ld4mrec_cli.evaluation.mean_difference import Sample, differences
from ld4mrec_cli.evaluation.significance import PairedTest, compare_all, holm, wilcoxon_p


def generator(seed=0):
    return np.random.default_rng(seed)


def per_user(n_users=300, seed=1):
    """Values such as recall gives: many zeros, many ties."""
    return np.round(generator(seed).beta(0.3, 2.0, size=(2, n_users)) * 4) / 4


def closed_form(values):
    """Samples of recommenders without a seed."""
    return [Sample(row[None], uses_seed=False) for row in np.asarray(values, dtype=float)]


def only(values, **options):
    ((found,),) = compare_all({"ndcg@20": closed_form(values)}, **options).values()
    return found


def test_p_without_seeds_is_the_paired_t_of_scipy():
    a, b = per_user()
    assert only([a, b]).p == pytest.approx(ttest_rel(a, b).pvalue)
    assert only([a, b]).wilcoxon_p == wilcoxon(a, b, zero_method="wilcox").pvalue


def test_interval_is_close_to_scipys():
    a, b = per_user()
    found = only([a, b], resamples=20_000)
    expected = bootstrap(
        (a - b,), np.mean, n_resamples=20_000, method="percentile", rng=generator(5)
    )
    width = found.high - found.low
    assert_allclose([found.low, found.high], expected.confidence_interval, atol=0.03 * width)
    assert found.difference == pytest.approx((a - b).mean())


def test_the_other_way_round_is_the_mirror_image():
    a, b = per_user()
    one, other = only([a, b]), only([b, a])
    assert (one.difference, one.low, one.high) == (-other.difference, -other.high, -other.low)
    assert one.rank_balance == -other.rank_balance
    assert (one.p, one.a_better, one.b_better, one.equal) == (
        other.p,
        other.b_better,
        other.a_better,
        other.equal,
    )


def test_a_shift_of_every_user_is_known_exactly():
    b = generator().random(50)
    found = only([b + 0.125, b])
    assert_allclose([found.difference, found.low, found.high], 0.125)
    assert (found.a_better, found.b_better, found.equal) == (50, 0, 0)
    assert found.p < 1e-9


def test_equal_recommenders_have_p_1_and_an_empty_interval():
    a = per_user()[0]
    found = only([a, a.copy()])
    assert astuple(found) == (0, 1, 0.0, 0.0, 0.0, True, 1.0, 1.0, 0.0, 1.0, 0.0, 0, 0, 300)


def test_what_rounding_of_a_mean_over_seeds_leaves_is_no_difference():
    seeds = generator().random((3, 400)) / 3
    forth, back = seeds[0] + seeds[1] + seeds[2], seeds[2] + seeds[1] + seeds[0]
    assert (forth != back).any()
    found = only([forth, back])
    assert (found.p, found.equal) == (1.0, 400)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    truth, rng, inside = 0.02, generator(7), 0
    for _ in range(400):
        moved = truth + rng.choice([0.0, 0.0, -0.5, 0.5, 1.0, -1.0], size=200)
        found = only([moved, np.zeros(200)], resamples=600)
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 400 <= 0.975


def test_without_a_difference_p_is_rarely_small():
    rng = generator(3)
    small = 0
    for _ in range(1000):
        moved = rng.choice([-0.5, 0.5, -0.25, 0.25, 0.0], size=120)
        small += wilcoxon_p(moved) < 0.05
    assert 0.03 <= small / 1000 <= 0.07


@pytest.mark.parametrize("n_users", [1, 2, 3, 5, 9, 14, 30, 51, 60])
def test_any_number_of_users_gives_a_p(n_users):
    a, b = per_user(n_users, seed=n_users)
    assert 0.0 <= only([a, b], resamples=50).p <= 1.0


def test_holm_is_the_textbooks():
    assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    assert_allclose(holm(np.array([0.4, 0.5])), [0.8, 0.8])
    assert_array_equal(holm(np.array([])), [])


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p):
    p = np.array(p)
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(p * len(p), 1.0)).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


def test_all_pairs_are_tested_and_corrected_together():
    values = generator().random((4, 60)) + np.array([[0.0], [0.02], [0.05], [0.2]])
    other = generator(4).random((4, 60))
    metrics = {"recall@20": closed_form(values), "ndcg@20": closed_form(other)}
    found = compare_all(metrics, resamples=100)
    assert list(found) == ["recall@20", "ndcg@20"]
    for tests in found.values():
        pairs = [(test.a, test.b) for test in tests]
        assert pairs == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    family = [test for tests in found.values() for test in tests]
    assert_allclose([test.p_holm for test in family], holm(np.array([test.p for test in family])))
    for test in found["recall@20"]:
        assert_allclose(test.p, ttest_rel(values[test.a], values[test.b]).pvalue)
        moved = differences(values[test.a], values[test.b])
        assert_allclose(test.wilcoxon_p, wilcoxon(moved).pvalue)


def test_resamples_are_means_of_users_drawn_with_replacement():
    means = bootstrap_means(
        np.eye(3), generator(), 2000
    )  # the share of the draws that fell on each user
    assert means.shape == (2000, 3)
    assert_allclose(means.sum(axis=1), 1.0)
    assert set(np.round(means.ravel() * 3).astype(int)) == {0, 1, 2, 3}
    assert_allclose(means.mean(axis=0), 1 / 3, atol=0.02)
    assert_allclose((means[:, 0] == 0.0).mean(), (2 / 3) ** 3, atol=0.04)


def test_the_chunks_change_memory_and_not_the_result(monkeypatch):
    values = per_user(500)
    whole = bootstrap_means(values, generator(), 400)
    monkeypatch.setattr(bootstrap_module, "RESAMPLE_CHUNK_SIZE", 500 * 7)
    tracemalloc.start()
    try:
        assert_allclose(bootstrap_means(values, generator(), 400), whole)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400 * 500 * 8 / 4


def test_the_seed_decides():
    values = per_user()
    assert only(values, seed=1, resamples=200) == only(values, seed=1, resamples=200)
    assert only(values, seed=1, resamples=200) != only(values, seed=2, resamples=200)


@pytest.mark.parametrize(
    ("difference", "low", "high", "p_holm", "expected"),
    [
        (0.2, 0.1, 0.3, 0.04, True),
        (-0.2, -0.3, -0.1, 0.04, True),
        (0.2, 0.1, 0.3, 0.06, False),
        (0.2, -0.1, 0.5, 0.01, False),
        (-0.2, -0.5, 0.1, 0.01, False),
        (0.0, 0.0, 0.0, 1.0, False),
    ],
)
@pytest.mark.parametrize("ranks", [(1.0, -0.5), (0.0001, 0.5)], ids=["against", "for"])
def test_significant_takes_corrected_p_and_interval_and_no_ranks(
    difference, low, high, p_holm, expected, ranks
):
    found = PairedTest(0, 1, difference, low, high, True, 0.01, p_holm, 0.1, *ranks, 5, 3, 2)
    assert found.is_significant is expected


def test_many_small_losses_against_few_large_gains_are_no_verdict():
    """Differences of mean zero whose ranks lean to one side, as in Ihemelandu and Ekstrand."""
    moved = np.concatenate([np.full(900, -0.05), np.full(100, 0.45)])
    found = only([moved, np.zeros(1000)])
    assert found.wilcoxon_p < 1e-9
    assert found.rank_balance < -0.3
    assert found.p > 0.9
    assert not found.is_significant


def test_the_balance_of_ranks_is_the_statistic_of_wilcoxon():
    a, b = per_user()
    moved = a - b
    ranks = moved.size - (moved == 0).sum()
    total = ranks * (ranks + 1) / 2
    smaller = wilcoxon(a, b).statistic
    assert abs(only([a, b]).rank_balance) == pytest.approx((total - 2 * smaller) / total)
    assert only([a + 1, b]).rank_balance == 1.0
    assert only([a - 2, b]).rank_balance == -1.0
