"""The columns of raw tables: matched by name, checked, and parsed to ids, numbers and splits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from ld4mrec_cli.data.columns import (
    COLUMN_ALIASES,
    EVENT,
    ITEM,
    RATING,
    SPLIT,
    TIMESTAMP,
    USER,
    WEIGHT,
    plain_name,
)
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.dates import guess_formats, parse_dates
from ld4mrec_cli.data.readers.delimited import line_of, report_bad_lines
from ld4mrec_cli.data.readers.events import WEIGHT_KIND, parse_weights, weigh_events
from ld4mrec_cli.data.readers.ids import id_texts
from ld4mrec_cli.data.readers.times import TIME_KIND, parse_times
from ld4mrec_cli.data.readers.unused import hint_time_column
from ld4mrec_cli.data.splits import SPLIT_CODES
from ld4mrec_cli.settings.base import ColumnName
from ld4mrec_cli.settings.data import ColumnKey, PrepareConfig, columns_of
from ld4mrec_cli.utils.errors import SourceError, nearest

_ITEMS_ITEM: Final = "items.item"
_SHARED = (EVENT, WEIGHT)
"""Columns that may be those of the ratings, too."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


def interactions_from(frame: pl.DataFrame, path: Path, context: ReadContext) -> pl.DataFrame:
    """Pick and check the columns of an interaction table.

    Raises:
        SourceError: a column is missing, float ids are too large to be exact, or an event has no
            weight; or, unless ``context`` skips such lines, a line has no id or a value that is
            not a number.
    """
    columns = find_columns(
        frame,
        path,
        columns_of("interactions", context.options.columns),
        required=(USER, ITEM),
        optional=(RATING, TIMESTAMP, SPLIT, EVENT, WEIGHT),
    )
    hint_time_column(frame, path, columns, context)
    if frame.is_empty():
        raise SourceError("holds no interaction", where=path)
    parsers = _parsers(path, context.options.date_format)
    parsed = pl.DataFrame(
        [parsers[name](frame[column]).alias(name) for name, column in columns.items()]
    )
    find_line = partial(line_of, path)
    if not sum(parsed.null_count().row(0)):
        return weigh_events(parsed, path, context, find_line)
    faulty = parsed.select(pl.any_horizontal(pl.all().is_null())).to_series()
    bad_lines = {}
    for row in faulty.arg_true().head(context.options.max_errors + 1):
        name = next(name for name in parsed.columns if parsed[name][row] is None)
        bad_lines[row] = _fault(name, columns[name], frame[columns[name]][row], context)
    report_bad_lines(path, bad_lines, context)
    if faulty.all():
        raise SourceError("holds no interaction", where=path)
    return weigh_events(parsed, path, context, find_line).filter(~faulty)


def find_columns(
    frame: pl.DataFrame,
    path: Path,
    mapping: Mapping[ColumnName, str],
    required: tuple[ColumnName, ...],
    optional: tuple[ColumnName, ...] = (),
    table: str = "",
) -> dict[str, str]:
    """Match our columns with those of the table: our name → the name in the table.

    Args:
        table: ``items.`` in a table of items, for the advice of the message.

    Raises:
        SourceError: a mapped or required column is missing, the table has no header, or a column
            holds lists or the like.
    """
    names = (*required, *optional)
    mapped = {name: mapping[name] for name in names if name in mapping}
    if path.suffix != ".parquet":
        _check_header(frame.columns, path, required)
    taken = {column for name, column in mapped.items() if name not in _SHARED}
    free = [column for column in frame.columns if column not in taken]
    by_plain_name = {plain_name(column.split(":")[0]): column for column in reversed(free)}
    columns: dict[str, str] = {}
    for name in names:
        if name in mapped and mapped[name] not in frame.columns:
            hint = nearest(mapped[name], frame.columns)
            raise SourceError(f"has no column '{mapped[name]}'", where=path, hint=hint)
        aliases = COLUMN_ALIASES.get(name, (name,))
        match = mapped.get(name) or next(
            (by_plain_name[alias] for alias in aliases if alias in by_plain_name), None
        )
        if match is not None:
            columns[name] = match
        elif name in required:
            raise _missing_column(name, frame.columns, path, table)
    for column in columns.values():
        check_plain(frame.schema[column], column, path)
    return columns


def _missing_column(name: str, columns: list[str], path: Path, table: str) -> SourceError:
    is_text = path.suffix != ".parquet"
    hint = f"Name it with --column {table}{name}=COLUMN, or in prepare.columns"
    return SourceError(
        f"has no {name} column among: {', '.join(columns)}",
        where=path,
        line=1 if is_text else None,
        hint=hint + ("; the first line must be the names of the columns" if is_text else ""),
    )


def _check_header(header: list[str], path: Path, required: tuple[str, ...]) -> None:
    """Raise SourceError where the first line holds values: some are numbers, which name no column.

    Names 0, 1, 2, … are those that pandas gives.
    """
    numbers = [name for name in header if _NUMBER.fullmatch(name.strip())]
    counted = [str(place) for place in range(len(header))]
    if numbers and header != counted and not _has_names(header, required):
        example = ",".join((*required, *((RATING, TIMESTAMP) if USER in required else ())))
        raise SourceError(
            f"has no {required[0]} column among: {', '.join(header)}; "
            "the first line looks like data",
            where=path,
            line=1,
            hint=f"Put a line of column names above it, such as {example} in the right order",
        )


def _has_names(header: list[str], required: tuple[str, ...]) -> bool:
    known = {plain_name(column.split(":")[0]) for column in header}
    return any(known & set(COLUMN_ALIASES.get(name, (name,))) for name in required)


def item_mapping(frame: pl.DataFrame, columns: Mapping[ColumnKey, str]) -> dict[ColumnName, str]:
    """Names for a table of items. The item column of the interactions need not be in it."""
    mapping = columns_of("items", columns)
    if _ITEMS_ITEM not in columns and mapping.get(ITEM) not in frame.columns:
        mapping.pop(ITEM, None)
    return mapping


def feature_mapping(frame: pl.DataFrame, columns: Mapping[ColumnKey, str]) -> dict[ColumnName, str]:
    """Names for a table of features; the item columns of other tables need not be in it."""
    names = (columns.get(_ITEMS_ITEM), columns.get(ITEM))
    column = next((name for name in names if name in frame.columns), None)
    return {} if column is None else {ITEM: column}


def check_settings_act(raw: Path, options: PrepareConfig) -> None:
    """Raise SourceError for settings of columns that a layout with known columns does not read.

    The item column acts where a feature file beside it is a table; events and weights, where they
    are the ratings.
    """
    active = {ITEM, _ITEMS_ITEM} if any(raw.glob("*_feat.parquet")) else set()
    active |= {
        name
        for name, column in options.columns.items()
        if name.rpartition(".")[2] in _SHARED and plain_name(column) in COLUMN_ALIASES[RATING]
    }
    unused = [f"prepare.columns names {name}" for name in sorted(options.columns.keys() - active)]
    if options.date_format is not None:
        unused.append("prepare.date_format is set")
    if unused:
        hint = "The columns of its files are known"
        raise SourceError(f"{unused[0]}, which does not act on this layout", where=raw, hint=hint)


def check_plain(dtype: pl.DataType, column: str, path: Path) -> None:
    """Raise SourceError where a (Parquet) column holds neither text, numbers nor dates."""
    if dtype.is_nested() or dtype in (pl.Binary, pl.Time, pl.Duration):
        raise SourceError(
            f"column '{column}' holds {dtype}; text, numbers or dates are needed", where=path
        )


def _fault(name: str, column: str, value: object, context: ReadContext) -> str:
    is_nan = isinstance(value, float) and math.isnan(value)
    if value is None or not str(value).strip() or (is_nan and name in (USER, ITEM)):
        return f"no value in column '{column}'"
    valid = {
        RATING: "a finite number",
        TIMESTAMP: _valid_time(str(value), context.options.date_format),
        SPLIT: "one of " + ", ".join(SPLIT_CODES),
        EVENT: "a type of event",
        WEIGHT: WEIGHT_KIND,
    }
    return f"'{value}' in column '{column}' is not {valid.get(name, 'an id')}"


def _valid_time(value: str, date_format: str | None) -> str:
    if date_format:
        return f"of the form '{date_format}'"
    formats = guess_formats([value])
    return TIME_KIND + (f"; it may be --date-format '{formats[0]}'" if formats else "")


def _parse_ratings(column: pl.Series) -> pl.Series:
    text = column.str.strip_chars() if column.dtype == pl.String else column
    numbers = text.cast(pl.Float64, strict=False)
    return numbers.to_frame("n").select(pl.when(pl.col("n").is_finite()).then("n")).to_series()


def _parse_splits(column: pl.Series) -> pl.Series:
    text = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    return text.replace_strict(SPLIT_CODES, default=None, return_dtype=pl.Int8)


def _parsers(path: Path, date_format: str | None) -> dict[str, Callable[[pl.Series], pl.Series]]:
    """The parser of each column."""
    return {
        USER: partial(id_texts, path=path),
        ITEM: partial(id_texts, path=path),
        RATING: _parse_ratings,
        TIMESTAMP: parse_times if date_format is None else partial(parse_dates, date_format),
        SPLIT: _parse_splits,
        EVENT: partial(id_texts, path=path),
        WEIGHT: parse_weights,
    }
