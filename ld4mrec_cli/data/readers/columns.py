"""The columns of raw tables: found by name, checked, and turned into ids, numbers and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from ld4mrec_cli.data.columns import (
    COLUMN_ALIASES,
    ITEM,
    RATING,
    SPLIT,
    TIMESTAMP,
    USER,
    plain_name,
)
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.dates import guess_formats, parse_dates
from ld4mrec_cli.data.readers.delimited import report_bad_lines
from ld4mrec_cli.data.readers.unused import hint_time_column
from ld4mrec_cli.data.splits import SPLIT_CODES
from ld4mrec_cli.settings.base import ColumnName
from ld4mrec_cli.settings.data import ColumnKey, PrepareConfig, columns_of
from ld4mrec_cli.utils.errors import SourceError, nearest

_ITEMS_ITEM: Final = "items.item"


def interactions_from(frame: pl.DataFrame, path: Path, context: ReadContext) -> pl.DataFrame:
    """Pick and check the columns of an interaction table.

    Raises:
        SourceError: a column is missing; or, unless ``reading`` leaves such lines out, a line lacks an
            id or has a value that is not a number.
    """
    found = find_columns(
        frame,
        path,
        columns_of("interactions", context.options.columns),
        required=(USER, ITEM),
        optional=(RATING, TIMESTAMP, SPLIT),
    )
    hint_time_column(frame, path, found, context)
    if frame.is_empty():
        raise SourceError("holds no interaction", where=path)
    parsed = frame.select(
        _ids(frame, found[USER]).alias(USER),
        _ids(frame, found[ITEM]).alias(ITEM),
        *(
            _parser(name, context.options.date_format)(frame, found[name]).alias(name)
            for name in (RATING, TIMESTAMP, SPLIT)
            if name in found
        ),
    )
    if not sum(parsed.null_count().row(0)):
        return parsed
    faulty = parsed.select(pl.any_horizontal(pl.all().is_null())).to_series()
    bad_lines = {}
    for row in faulty.arg_true().head(context.options.max_errors + 1):
        name = next(name for name in parsed.columns if parsed[name][row] is None)
        bad_lines[row] = _fault(name, found[name], frame[found[name]][row], context)
    report_bad_lines(path, bad_lines, context)
    if faulty.all():
        raise SourceError("holds no interaction", where=path)
    return parsed.filter(~faulty)


def find_columns(
    frame: pl.DataFrame,
    path: Path,
    mapping: Mapping[ColumnName, str],
    required: tuple[ColumnName, ...],
    optional: tuple[ColumnName, ...] = (),
    table: str = "",
) -> dict[str, str]:
    """Find our columns among the table's: our name → the table's name.

    Args:
        table: ``items.`` in a table of items, for the advice of the message.

    Raises:
        SourceError: a mapped or required column is not there, or a column holds lists or the like.
    """
    mapped = {mapping[name] for name in (*required, *optional) if name in mapping}
    free = [column for column in frame.columns if column not in mapped]
    plain = {plain_name(column.split(":")[0]): column for column in reversed(free)}
    found: dict[str, str] = {}
    for name in (*required, *optional):
        if name in mapping:
            if mapping[name] not in frame.columns:
                hint = nearest(mapping[name], frame.columns)
                raise SourceError(f"has no column '{mapping[name]}'", where=path, hint=hint)
            found[name] = mapping[name]
        else:
            match = next(
                (plain[usual] for usual in COLUMN_ALIASES.get(name, (name,)) if usual in plain),
                None,
            )
            if match is not None:
                found[name] = match
    for name in required:
        if name not in found:
            columns = ", ".join(frame.columns)
            raise SourceError(
                f"has no {name} column among: {columns}",
                where=path,
                line=1 if path.suffix != ".parquet" else None,
                hint=f"Name it with --column {table}{name}=COLUMN, or in prepare.columns",
            )
    for column in found.values():
        check_plain(frame.schema[column], column, path)
    return found


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

    The item column acts where a feature file beside it is a table.
    """
    acting = {ITEM, _ITEMS_ITEM} if any(raw.glob("*_feat.parquet")) else set()
    idle = [f"prepare.columns names {name}" for name in sorted(options.columns.keys() - acting)]
    if options.date_format is not None:
        idle.append("prepare.date_format is set")
    if idle:
        hint = "The columns of its files are known"
        raise SourceError(f"{idle[0]}, which does not act on this layout", where=raw, hint=hint)


def check_plain(dtype: pl.DataType, column: str, path: Path) -> None:
    """Raise SourceError where a (Parquet) column holds neither text, numbers nor dates."""
    if dtype.is_nested() or dtype in (pl.Binary, pl.Time, pl.Duration):
        raise SourceError(
            f"column '{column}' holds {dtype}; text, numbers or dates are needed", where=path
        )


def _fault(name: str, column: str, value: object, context: ReadContext) -> str:
    if value is None or not str(value).strip():
        return f"no value in column '{column}'"
    date_format = context.options.date_format
    formats = guess_formats([str(value)])
    needs = {
        RATING: "a finite number",
        TIMESTAMP: f"of the form '{date_format}'"
        if date_format
        else "a number of seconds or an ISO date"
        + "".join(f"; it may be --date-format '{form}'" for form in formats[:1]),
        SPLIT: "one of " + ", ".join(SPLIT_CODES),
    }
    return f"'{value}' in column '{column}' is not {needs.get(name, 'an id')}"


def _ids(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Ids as strings; an empty id is null."""
    text = pl.col(column).cast(pl.String)
    if frame.schema[column] == pl.String:
        text = text.str.strip_chars()
    return pl.when(text.str.len_bytes() > 0).then(text)


def _number(frame: pl.DataFrame, column: str) -> pl.Expr:
    source = pl.col(column)
    if frame.schema[column] == pl.String:
        source = source.str.strip_chars()
    value = source.cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def _timestamp(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Whole numbers as they are (nanoseconds are more than a float holds), dates as seconds since 1970."""
    dtype = frame.schema[column]
    if dtype.is_temporal():
        return pl.col(column).cast(pl.Datetime("ms")).dt.epoch("s")
    number = _number(frame, column)
    value = pl.when(number.abs() < 2**62).then(number).cast(pl.Int64, strict=False)
    if dtype.is_integer():
        return pl.col(column).cast(pl.Int64, strict=False)
    if dtype != pl.String:
        return value
    whole = pl.col(column).str.strip_chars().cast(pl.Int64, strict=False)
    iso = pl.col(column).str.strip_chars().str.replace("T", " ").str.strip_chars_end("Z")
    date = pl.coalesce(
        iso.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False),
        iso.str.to_datetime("%Y-%m-%d %H:%M", strict=False),
        iso.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
    )
    return pl.coalesce(whole, value, date.dt.epoch("s"))


def _label(frame: pl.DataFrame, column: str) -> pl.Expr:
    text = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase()
    return text.replace_strict(SPLIT_CODES, default=None, return_dtype=pl.Int8)


_PARSERS: dict[str, Callable[[pl.DataFrame, str], pl.Expr]] = {
    USER: _ids,
    ITEM: _ids,
    RATING: _number,
    TIMESTAMP: _timestamp,
    SPLIT: _label,
}


def _parser(name: str, date_format: str | None) -> Callable[[pl.DataFrame, str], pl.Expr]:
    if name == TIMESTAMP and date_format is not None:
        return partial(parse_dates, date_format)
    return _PARSERS[name]
