"""Columns of the item table that lists can be filtered by: ``recommend --where brand=Acme``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import polars as pl

from ld4mrec_cli.data.columns import ITEM, TITLE

ITEM_COLUMNS: Final = "item_columns"
"""Column of structs in a table of items: the values of all columns of the raw item table."""
ITEM_COLUMNS_FILE: Final = f"{ITEM_COLUMNS}.parquet"
MAX_COLUMNS = 64
"""Columns that are kept; tables with more hold vectors."""
MAX_MEAN_LENGTH = 100
"""Characters: longer texts are descriptions, by which nobody filters."""


def pack_columns(frame: pl.DataFrame, without: Collection[str]) -> pl.Series | None:
    """The columns of a raw item table as structs ``(n,)``; None where there are none to keep.

    Args:
        frame: the raw table.
        without: columns that are ids or titles.
    """
    kept = _keep(frame.drop(without))
    return kept.to_struct(ITEM_COLUMNS) if kept.width else None


def unpack_columns(items: pl.DataFrame) -> pl.DataFrame:
    """Columns to keep of the items ``(n_items, …)``: those of the raw table, else its texts."""
    if ITEM_COLUMNS in items.columns:
        return _keep(items[ITEM_COLUMNS].struct.unnest())
    return _keep(items.drop(ITEM, TITLE, strict=False))


def _keep(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns with values of a kind that can be compared, at most MAX_COLUMNS of them."""
    columns: dict[str, pl.Series] = {}
    for series in frame.iter_columns():
        values = _plain_values(series)
        if values is None or values.null_count() == len(values) or len(columns) == MAX_COLUMNS:
            continue
        if values.dtype == pl.String and (values.str.len_chars().mean() or 0) > MAX_MEAN_LENGTH:  # type: ignore[operator]
            continue
        columns.setdefault(series.name, values)
    return pl.DataFrame(columns)


def _plain_values(series: pl.Series) -> pl.Series | None:
    """Values as text, numbers, booleans or lists of texts; None for another type of column."""
    dtype = series.dtype
    if dtype.is_float():
        return series.fill_nan(None)
    if dtype.is_integer() or dtype in (pl.Boolean, pl.Null):
        return series
    if isinstance(dtype, pl.List) and not dtype.inner.is_nested() and dtype.inner != pl.Binary:
        return series.cast(pl.List(pl.String)).list.eval(pl.element().str.strip_chars())
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return None
    texts = series.cast(pl.String).str.strip_chars()
    return texts.to_frame("text").select(pl.when(pl.col("text") != "").then("text"))["text"]


def match_values(column: pl.Series, values: Collection[str]) -> pl.Series:
    """Which items have one of some values in a column ``(n_items,)`` bool.

    Numbers are compared as numbers, booleans as true or false, a list by each of its texts.
    """
    if column.dtype.is_numeric():
        numbers = pl.Series(values).cast(pl.Float64, strict=False).drop_nulls()
        found = column.cast(pl.Float64).is_in(numbers.implode())
    elif column.dtype == pl.Boolean:
        found = column.cast(pl.String).is_in([value.lower() for value in values])
    elif isinstance(column.dtype, pl.List):
        found = column.list.eval(pl.element().is_in(list(values))).list.any()
    else:
        found = column.is_in(list(values))
    return found.fill_null(False)


def example_values(column: pl.Series) -> list[str]:
    """The different values of a column, as text, the most common first."""
    texts = column.explode() if isinstance(column.dtype, pl.List) else column
    counts = texts.cast(pl.String).drop_nulls().value_counts(sort=True, name="n")
    return counts.to_series(0).to_list()


def fit_columns(items: pl.DataFrame, like: pl.DataFrame | None) -> pl.DataFrame:
    """Columns of further items ``(n, …)``, of the names and types that a dataset has.

    Values of another type than the dataset's are left out, and so are columns that it lacks.

    Args:
        items: a table of items, as of :func:`unpack_columns`.
        like: the columns of the dataset; None: it has none.
    """
    if like is None:
        return pl.DataFrame()
    is_packed = ITEM_COLUMNS in items.columns
    given = items[ITEM_COLUMNS].struct.unnest() if is_packed else items
    columns = {}
    for name, dtype in like.schema.items():
        values = _plain_values(given[name]) if name in given.columns else None
        if values is None or isinstance(dtype, pl.List) != isinstance(values.dtype, pl.List):
            values = pl.repeat(None, len(items), dtype=dtype, eager=True)
        columns[name] = values.cast(dtype, strict=False)
    return pl.DataFrame(columns)
