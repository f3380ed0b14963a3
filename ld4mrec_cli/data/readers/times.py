"""Times of raw tables, with all the precision that the source has.

A time is a whole number where all times of a column are: as it is in the source, else in seconds
since 1970. Otherwise it is a float in seconds. Dates that differ by less than a microsecond become
whole numbers of nanoseconds, because a float cannot hold them.
"""

from __future__ import annotations

import polars as pl

NANOSECONDS = 1_000_000_000
TICKS_PER_SECOND = {"ms": 1000, "us": 1_000_000, "ns": NANOSECONDS}
TIME_KIND = "a number of seconds or an ISO date"
"""How messages name a valid time."""
_LATEST = 2**63 // NANOSECONDS
"""Seconds since 1970 that Int64 holds as nanoseconds: until 2262."""
_ISO = (
    r"^(?<date>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?<minute>\d{2}:\d{2})(?::(?<second>\d{2})(?:[.,](?<fraction>\d{1,9})\d*)?)?)?"
    r"\s*(?<zone>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?$"
)


def parse_times(column: pl.Series) -> pl.Series:
    """Turn numbers, dates or text ``(n,)`` into Int64 or Float64; null where it is no time.

    Text is a number, or an ISO date with an optional time, fraction and offset (``Z``, ``UTC``,
    ``+02:00``, ``+0200``, ``+02``). A date without an offset is in UTC.
    """
    if column.dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.epoch("s")
    if isinstance(column.dtype, pl.Datetime):
        unit = column.dtype.time_unit
        return from_ticks(column.dt.epoch(unit), TICKS_PER_SECOND[unit])
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    if column.dtype == pl.String:
        return _parse_text(column.str.strip_chars())
    return _whole_or_float(column.cast(pl.Float64, strict=False))


def from_ticks(ticks: pl.Series, per_second: int) -> pl.Series:
    """Turn whole numbers of a unit, ``per_second`` to a second, into times as this module says."""
    if per_second == 1 or not bool((ticks % per_second != 0).any()):
        return ticks // per_second
    if per_second < NANOSECONDS:
        return _divide(ticks, per_second)
    if bool((ticks % 1000 != 0).any()):
        return ticks
    return _divide(ticks // 1000, 1_000_000)


def _divide(ticks: pl.Series, per_second: int) -> pl.Series:
    """Divide by numpy, which rounds correctly; polars multiplies by the inverse."""
    seconds = ticks.cast(pl.Float64).to_numpy() / per_second
    return pl.Series(ticks.name, seconds).fill_nan(None)


def concat_times(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """Put tables of interactions below each other; whole times become floats beside floats."""
    return pl.concat(tables, how="vertical_relaxed")


def _whole_or_float(numbers: pl.Series) -> pl.Series:
    """Whole numbers as Int64 where all are; NaN, infinity and what Int64 cannot hold are null."""
    within = numbers.is_finite() & (numbers.abs() < 2**62)
    numbers = numbers.to_frame("t").select(pl.when(within).then("t"))["t"]
    if bool((numbers != numbers.floor()).any()):
        return numbers
    return numbers.cast(pl.Int64)


def _parse_text(text: pl.Series) -> pl.Series:
    whole = text.cast(pl.Int64, strict=False)  # nanoseconds are more than a float holds
    numbers = _whole_or_float(text.cast(pl.Float64, strict=False))
    if numbers.dtype == pl.Int64:
        numbers = _first_known(whole, numbers)
    if not (numbers.is_null() & text.is_not_null()).any():
        return numbers
    dates = _parse_dates(text, nanoseconds=not numbers.is_not_null().any())
    return _first_known(numbers, dates)


def _first_known(first: pl.Series, second: pl.Series) -> pl.Series:
    return pl.select(pl.coalesce(first, second)).to_series()


def _parse_dates(text: pl.Series, *, nanoseconds: bool) -> pl.Series:
    """ISO dates as times; as ``nanoseconds`` only where that is allowed and needed."""
    part = pl.col("text").str.extract_groups(_ISO).struct.field
    clock = part("minute").fill_null("00:00") + ":" + part("second").fill_null("00")
    local = (part("date") + " " + clock).str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
    zone = part("zone").str.replace(":", "").str.pad_end(5, "0")
    hours = zone.str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = zone.str.slice(3, 2).cast(pl.Int64, strict=False)
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    is_offset = zone.str.contains(r"^[+-]").fill_null(False)
    offset = pl.when(is_offset).then(sign * (hours * 3600 + minutes * 60)).otherwise(0)
    fraction = part("fraction").fill_null("0").str.pad_end(9, "0").cast(pl.Int64)
    dates = text.to_frame("text").select(
        seconds=local.dt.epoch("s") - offset, fraction=pl.when(local.is_not_null()).then(fraction)
    )
    seconds, parts = dates["seconds"], dates["fraction"]
    if not bool((parts != 0).any()):
        return seconds
    in_range = not bool((seconds.abs() >= _LATEST).any())
    if nanoseconds and in_range and bool((parts % 1000 != 0).any()):
        return seconds * NANOSECONDS + parts
    return _divide(seconds * 1_000_000 + parts // 1000, 1_000_000)
