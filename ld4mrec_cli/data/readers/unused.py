"""Messages about columns that look like a time or a text and are not used."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import TIMESTAMP
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.dates import guess_formats
from ld4mrec_cli.settings.data import PrepareConfig

SAMPLE = 200
"""Values of a column that are looked at."""
_TIME_NAME = re.compile(
    r"time|date|when|(^|_)(ts|at|on)$|(created|ordered|purchased|bought|watched|viewed)"
)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")
_EPOCH = (600_000_000, 4_200_000_000)
"""Seconds since 1970 of 1989 and 2103; a number between them may be a time."""


def hint_time_column(
    frame: pl.DataFrame, path: Path, columns: Mapping[str, str], context: ReadContext
) -> None:
    """Name the first column that looks like a time, where the table has no known one."""
    if TIMESTAMP in columns:
        return
    for column in frame.columns:
        formats = None if column in columns.values() else _time_formats(frame[column])
        if formats is None:
            continue
        flags = f"--column timestamp={column}"
        if formats and context.options.date_format is None:
            flags += " --date-format " + " or ".join(f"'{form}'" for form in formats)
        context.hint(
            f"column '{column}' of {path.name} looks like a time and is not used; "
            f"name it with {flags}"
        )
        return


def hint_text_columns(
    frame: pl.DataFrame, path: Path, columns: Container[str], context: ReadContext, title: bool
) -> None:
    """Name the columns of an item table that hold words and are in no text field.

    Args:
        columns: the columns that are used.
        title: whether the title is one of them.
    """
    if context.options.text_fields != PrepareConfig.model_fields["text_fields"].default:
        return
    names = [name for name in frame.columns if name not in columns and _has_words(frame[name])]
    if not names:
        return
    shown = ", ".join(f"'{name}'" for name in names)
    what = f"column {shown} of {path.name} looks like text and is not used"
    if len(names) > 1:
        what = f"columns {shown} of {path.name} look like text and are not used"
    flags = [f"--text-field {name}" for name in (("title",) if title else ()) + tuple(names)]
    advice = f"name {'it' if len(names) == 1 else 'them'} with {' '.join(flags)}"
    if not title:
        advice = f"name the title with --column title={names[0]}, or {advice}"
    context.hint(f"{what}; {advice}")


def _time_formats(values: pl.Series) -> list[str] | None:
    """Date formats of a column that looks like a time (none is needed for ISO), else None."""
    if values.dtype in (pl.Date, pl.Datetime):
        return []
    sample = values.drop_nulls().head(SAMPLE)
    if sample.is_empty() or not (sample.dtype == pl.String or sample.dtype.is_numeric()):
        return None
    numbers = sample.cast(pl.Float64, strict=False)
    if not numbers.null_count():
        is_epoch = any(
            numbers.is_between(_EPOCH[0] * unit, _EPOCH[1] * unit).all()
            for unit in (1, 10**3, 10**6, 10**9)
        )
        return [] if is_epoch and _TIME_NAME.search(values.name.lower()) else None
    texts = [text.strip() for text in sample.to_list() if text.strip()]
    if texts and all(_ISO.fullmatch(text) for text in texts):
        return []
    return guess_formats(texts) or None


def _has_words(values: pl.Series) -> bool:
    """Whether most values of a column are several words."""
    if values.dtype != pl.String:
        return False
    sample = values.drop_nulls().head(SAMPLE)
    several = sample.str.contains(r"\p{L}{2,}[^/]*\s[^/]*\p{L}{2,}") & ~sample.str.contains("://")
    return len(sample) > 0 and float(several.mean()) >= 0.5  # type: ignore[arg-type]
