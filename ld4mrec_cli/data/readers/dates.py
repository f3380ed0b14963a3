"""Dates in the forms that people write them, ISO apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from ld4mrec_cli.data.readers.times import from_ticks

_MICROSECONDS = 1_000_000
_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = tuple(day + time for day in _DAYS for time in _TIMES)
"""Forms that :func:`guess_formats` knows."""
_CLOCK = re.compile(r"%([HIMSpTRXc]|\.f)")


def parse_dates(column: pl.Series, date_format: str) -> pl.Series:
    """Parse dates ``(n,)`` by a format of ``strptime``; null where a value differs.

    Numbers are parsed as their text. A date without an offset is in UTC.

    Returns:
        Times as :mod:`ld4mrec_cli.data.readers.times` defines them.
    """
    text = column.cast(pl.String).str.strip_chars()
    form = re.sub(r"\.?%f", "%.f", date_format)  # polars writes the fraction with its point
    if "%z" in form:
        times = text.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
    elif _CLOCK.search(form):
        times = text.str.to_datetime(form, strict=False, time_unit="us")
    else:
        times = text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    return from_ticks(times.dt.epoch("us"), _MICROSECONDS)


def guess_formats(values: Sequence[str]) -> list[str]:
    """The formats of :data:`FORMATS` that fit all values; 1/2 fits two of them."""
    return [form for form in FORMATS if values and all(_fits(value, form) for value in values)]


def _fits(value: str, date_format: str) -> bool:
    try:
        datetime.strptime(value.strip(), date_format)
    except ValueError:
        return False
    return True
