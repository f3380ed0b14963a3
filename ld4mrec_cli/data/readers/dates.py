"""Dates in the forms that people write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import polars as pl

_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = tuple(day + time for day in _DAYS for time in _TIMES)
"""Forms that :func:`guess_formats` knows, ISO apart."""


def parse_dates(date_format: str, frame: pl.DataFrame, column: str) -> pl.Expr:
    """Parse a column by a format of ``strptime``, null where a value differs.

    Dates and times of a Parquet table need no format.

    Returns:
        Seconds since 1970, or microseconds where there are fractions.
    """
    dtype = frame.schema[column]
    form = re.sub(r"\.?%f", "%.f", date_format)  # polars writes the fraction with its point
    text = pl.col(column).cast(pl.String).str.strip_chars()
    if dtype.is_temporal():
        times = pl.col(column).cast(pl.Datetime("us"))
    elif "%z" in form:
        times = text.str.to_datetime(form, strict=False, time_unit="us", time_zone="UTC")
    elif re.search(r"%([HIMSpTRXc]|\.f)", form):
        times = text.str.to_datetime(form, strict=False, time_unit="us")
    else:
        times = text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    has_fractions = "%.f" in form or (dtype.is_temporal() and dtype != pl.Date)
    return times.dt.epoch("us" if has_fractions else "s")


def guess_formats(values: Sequence[str]) -> list[str]:
    """The formats of :data:`FORMATS` that fit all values; 1/2 fits two of them."""
    return [form for form in FORMATS if values and all(_fits(value, form) for value in values)]


def _fits(value: str, date_format: str) -> bool:
    try:
        datetime.strptime(value.strip(), date_format)
    except ValueError:
        return False
    return True
