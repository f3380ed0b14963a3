"""Times keep the precision of the source, in every layout."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from ld4mrec_cli.data.readers.times import parse_times

SECOND = 1_600_003_600
PARIS = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    "text",
    [
        "2020-09-13T15:26:40+02:00",
        "2020-09-13 15:26:40+0200",
        "2020-09-13 15:26:40+02",
        "2020-09-13 15:26:40 +02:00",
        "2020-09-13T13:26:40Z",
        "2020-09-13t13:26:40z",
        "2020-09-13 13:26:40 UTC",
        "2020-09-13 13:26:40+00",
        "2020-09-13 13:26:40.000+00:00",
        "2020-09-13 11:56:40-01:30",
        "2020-09-13 13:26:40",
    ],
)
def test_iso_dates_with_an_offset_are_utc_seconds(text):
    times = parse_times(pl.Series([text]))
    assert (times.dtype, times.to_list()) == (pl.Int64, [SECOND])


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["2020-09-13 13:26:40.5", "2020-09-13 13:26:40"], [SECOND + 0.5, SECOND]),
        (["2020-09-13T15:26:40.123456+02:00"], [SECOND + 0.123456]),
        (["1600003600.25", "1600003600"], [SECOND + 0.25, SECOND]),
        (["2020-09-13 13:26:40.5", "7"], [SECOND + 0.5, 7]),
        (["1960-01-01 00:00:00.25"], [-315_619_199.75]),
        (["9999-12-31"], [253_402_214_400]),
        (["1600003600123"], [1_600_003_600_123]),
    ],
)
def test_text_keeps_fractions_of_a_second(texts, values):
    assert parse_times(pl.Series(texts)).to_list() == values


def test_nanoseconds_are_whole_numbers_because_floats_cannot_hold_them():
    texts = ["2020-09-13T13:26:40.000000001Z", "2020-09-13T13:26:40.000000002Z"]
    expected = [SECOND * 10**9 + 1, SECOND * 10**9 + 2]
    assert parse_times(pl.Series(texts)).to_list() == expected
    dates = pl.Series(expected).cast(pl.Datetime("ns"))
    assert parse_times(dates).to_list() == expected


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, UTC, PARIS])
def test_datetimes_keep_milliseconds(unit, zone):
    local = datetime(2020, 9, 13, 15 if zone is PARIS else 13, 26, 40, 123_000, tzinfo=zone)
    dates = pl.Series([local, local + timedelta(seconds=1)]).cast(
        pl.Datetime(unit, None if zone is None else "UTC")
    )
    assert parse_times(dates).to_list() == [SECOND + 0.123, SECOND + 1.123]


@pytest.mark.parametrize(
    "text",
    ["noon", "2020-13-01", "2020-09-13 25:00", "2020-09-13 13:26:40 CET", "1e300", "nan", ""],
)
def test_text_that_is_no_time_is_null(text):
    assert parse_times(pl.Series([text])).to_list() == [None]


STEPS = (0.0, 0.2, 0.4, 0.6)
BASE = datetime(2023, 11, 14, 22, 13, 20)
DATES = [BASE + timedelta(seconds=step) for step in STEPS]
PAIRS = [("u", f"i{3 - number}") for number in range(4)]


def rows(template: str, times) -> str:
    return "".join(
        template.format(user, item, time) for (user, item), time in zip(PAIRS, times, strict=True)
    )


SOURCES = {
    "seconds": {
        "interactions.csv": "user,item,timestamp\n"
        + rows("{},{},{}\n", [1.7e9 + step for step in STEPS])
    },
    "iso": {"interactions.tsv": "user\titem\ttime\n" + rows("{}\t{}\t{}\n", DATES)},
    "parquet": {
        "interactions.parquet": pl.DataFrame(
            [(*pair, date) for pair, date in zip(PAIRS, DATES, strict=True)],
            schema=["user", "item", "timestamp"],
            orient="row",
        )
    },
    "recbole": {
        "x.inter": "user_id:token\titem_id:token\ttimestamp:float\n"
        + rows("{}\t{}\t{}\n", [1.7e9 + step for step in STEPS])
    },
    "mmrec": {
        "x.inter": "userID\titemID\ttimestamp\n"
        + rows("{}\t{}\t{}\n", [1.7e9 + step for step in STEPS])
    },
    "amazon csv": {
        "X.csv": "user_id,parent_asin,rating,timestamp\n"
        + rows("{},{},5.0,{}\n", [1_700_000_000_000 + int(1000 * step) for step in STEPS])
    },
    "amazon json": {
        "X.jsonl": [
            {
                "user_id": user,
                "parent_asin": item,
                "rating": 5.0,
                "timestamp": 1_700_000_000_000 + int(1000 * step),
            }
            for (user, item), step in zip(PAIRS, STEPS, strict=True)
        ]
    },
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_layout_orders_within_a_second_and_keeps_the_order_of_the_file(read, source):
    data = read(SOURCES[source]).interactions
    assert data.select("user", "item").rows() == PAIRS
    times = data["timestamp"].to_list()
    assert times == pytest.approx([1_700_000_000 + step for step in STEPS], abs=1e-6)
    assert all(earlier < later for earlier, later in itertools.pairwise(times))


def test_splits_of_whole_and_of_fractional_times_fit_together(read):
    head = "user_id:token\titem_id:token\ttimestamp:float\n"
    files = {
        "x.train.inter": head + "u\ta\t1700000000\n",
        "x.valid.inter": head + "u\tb\t1700000000.5\n",
        "x.test.inter": head + "u\tc\t1700000001\n",
    }
    times = read(files).interactions["timestamp"]
    assert times.to_list() == [1_700_000_000, 1_700_000_000.5, 1_700_000_001]
