"""Rows whose entries fade with the items that came later, and the trend of popularity."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.data.row_values import (
    MIN_RECENCY,
    PLAIN,
    RowValues,
    add_newer,
    age_again,
    count_later,
    to_matrix,
)
from ld4mrec_cli.data.trend import candidate_half_lives, measure_trend

ENTRIES = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 5))), max_size=30
)


def table(rows: list[tuple[int, int, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row")


@given(ENTRIES)
def test_later_entries_of_the_same_row_are_counted(entries):
    rows = np.array([row for row, _ in entries], dtype=np.int64)
    times = pl.Series([time for _, time in entries], dtype=pl.Int64)
    filled = [-1 if time is None else time for _, time in entries]
    later = [
        sum(rows[j] == rows[n] and filled[j] > filled[n] for j in range(len(entries)))
        for n in range(len(entries))
    ]
    assert count_later(rows, times).tolist() == later


def test_an_entry_halves_for_every_half_life_of_later_items():
    events = table([(0, 0, 10.0), (0, 1, 20.0), (0, 2, 30.0), (0, 3, 30.0), (1, 0, 5.0)])
    matrix = to_matrix([events], (2, 4), RowValues(half_life=2.0))
    np.testing.assert_allclose(matrix.toarray()[0], [2**-1.5, 0.5, 1, 1], rtol=1e-6)
    assert matrix[1, 0] == 1.0, "the only item of a row is its latest"
    assert set(to_matrix([events], (2, 4), PLAIN).data) == {1.0}


def test_weights_and_recency_are_multiplied_and_old_items_stay():
    events = table([(0, n, float(n)) for n in range(200)]).with_columns(weight=pl.lit(6.0))
    matrix = to_matrix([events], (1, 200), RowValues(mean_weight=2.0, half_life=1.0))
    assert matrix[0, 199] == pytest.approx(3.0)
    assert matrix[0, 198] == pytest.approx(1.5)
    assert matrix[0, 0] == pytest.approx(3.0 * MIN_RECENCY)
    assert matrix.nnz == 200


def test_rows_that_lost_items_fade_as_histories_of_their_own():
    values = RowValues(mean_weight=1.0, half_life=3.0)
    times = [5.0, 1.0, 9.0, 5.0, 7.0]
    events = table([(0, n, time) for n, time in enumerate(times)])
    events = events.with_columns(weight=pl.Series([3.0, 1.0, 7.0, 0.7, 2.0]))
    kept = [0, 1, 3]
    rows, plain = (
        to_matrix([events], (1, 5), one)[:, kept] for one in (values, RowValues(mean_weight=1.0))
    )
    alone = to_matrix([events[kept]], (1, 5), values)[:, kept]
    np.testing.assert_allclose(age_again(rows, plain, values).toarray(), alone.toarray())


def test_a_known_item_that_is_sent_again_makes_none_older():
    events = table([(0, 0, 1.0), (0, 1, 2.0)])
    values = RowValues(half_life=2.0)
    known, again = to_matrix([events], (1, 2), values), to_matrix([events[1:]], (1, 2), values)
    np.testing.assert_allclose(add_newer(known, again, values).toarray(), known.toarray())


def test_splits_are_one_history():
    train, valid = table([(0, 0, 1.0), (0, 1, 2.0)]), table([(0, 2, 3.0)])
    matrix = to_matrix([train, valid], (1, 3), RowValues(half_life=1.0))
    np.testing.assert_allclose(matrix.toarray(), [[0.25, 0.5, 1.0]])


def test_without_times_nothing_is_old():
    events = table([(0, 0, 1.0), (0, 1, 2.0)]).drop("timestamp")
    assert set(to_matrix([events], (1, 2), RowValues(half_life=1.0)).data) == {1.0}


def test_the_trend_is_the_ratio_of_recent_to_all_time_popularity():
    times = [0.0] * 30 + [100.0] * 10
    events = table([(n, int(n >= 30), time) for n, time in enumerate(times)])
    trend = measure_trend(events, 3, half_life=10.0)
    recent = np.array([30 * 2.0**-10, 10.0])
    recent *= 40 / recent.sum()
    expected = np.log((recent + 1) / (np.array([30, 10]) + 1))
    np.testing.assert_allclose(trend, [*expected, 0.0], rtol=1e-5)
    assert abs(measure_trend(events, 3, half_life=1e9)).max() < 1e-6, "all time is no trend"


def test_half_lives_follow_the_span_without_stray_times():
    times = [-1e9, *np.linspace(0.0, 1000.0, 99)]
    events = table([(0, n, time) for n, time in enumerate(times)])
    half_lives = candidate_half_lives(events)
    assert half_lives == sorted(half_lives, reverse=True)
    assert 400.0 < half_lives[0] <= 500.0
    assert candidate_half_lives(table([(0, 0, 7.0), (0, 1, 7.0)])) == []
    assert candidate_half_lives(table([(0, 0, None)])) == []


def test_a_missing_time_is_not_recent():
    events = table([(0, 0, None), (1, 0, None), (2, 1, 5.0), (3, 1, 6.0)])
    trend = measure_trend(events, 2, half_life=1.0)
    assert trend[0] < 0.0 < trend[1]
