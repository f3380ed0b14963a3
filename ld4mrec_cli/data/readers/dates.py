"""Dates in the forms that people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from ld4mrec_cli.data.readers.times import TICKS_PER_SECOND, from_ticks, parse_times

_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = tuple(day + time for day in _DAYS for time in _TIMES)
"""Forms that :func:`guess_formats` knows, ISO apart."""


def parse_dates(date_format: str, column: pl.Series) -> pl.Series:
    """Parse a column by a format of ``strptime`` into times as :func:`parse_times` gives them.

    A value of another form is null. Dates and times of a Parquet table need no format.
    """
    if column.dtype.is_temporal():
        return parse_times(column)
    form = re.sub(r"\.?%f", "%.f", date_format)  # polars writes the fraction with its point
    text = column.cast(pl.String).str.strip_chars()
    if "%z" in form:
        dates = text.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
    elif re.search(r"%([HIMSpTRXc]|\.f)", form):
        dates = text.str.to_datetime(form, strict=False, time_unit="us")
    else:
        dates = text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    return from_ticks(dates.dt.epoch("us"), TICKS_PER_SECOND["us"])


def guess_formats(values: Sequence[str]) -> list[str]:
    """The formats of :data:`FORMATS` that fit all values; 1/2 fits two of them."""
    return [form for form in FORMATS if values and all(_fits(value, form) for value in values)]


def _fits(value: str, date_format: str) -> bool:
    try:
        datetime.strptime(value.strip(), date_format)
    except ValueError:
        return False
    return True
