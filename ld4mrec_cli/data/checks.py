"""Checks of the tables and arrays of a dataset or run directory.

A checksum proves that a file is the one that was recorded, not that its content makes sense. An
index out of range would crash sparse products, and a repeated id would serve the wrong user.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM, RATING, TIMESTAMP, TITLE, USER, WEIGHT
from ld4mrec_cli.utils.errors import UserError
from ld4mrec_cli.utils.panics import quiet_panics

HINT = "Make it again with the command that wrote it"


def read_checked(path: Path, error: type[UserError]) -> pl.DataFrame:
    """Read a Parquet file; raise ``error`` where it is none."""
    try:
        with quiet_panics():
            return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as cause:
        reason = (str(cause).splitlines() or [""])[0]
        raise error(f"is no readable Parquet file ({reason})", where=path, hint=HINT) from None


def read_ids(path: Path, column: str, count: int, error: type[UserError]) -> pl.DataFrame:
    """Read a table of raw ids, ``count`` rows; titles are text where there are any.

    Raises:
        error: an id is missing, repeated or no text, or the number of rows differs.
    """
    table = read_checked(path, error)
    if table.schema.get(column) != pl.String:
        raise error(f"has no text column '{column}'", where=path, hint=HINT)
    if table.schema.get(TITLE, pl.String) != pl.String:
        raise error(f"its column '{TITLE}' is no text", where=path, hint=HINT)
    ids = table[column]
    if ids.null_count() or ids.n_unique() != len(ids):
        raise error(f"has missing or repeated ids in '{column}'", where=path, hint=HINT)
    if len(ids) != count:
        raise error(f"has {len(ids):,} rows in place of {count:,}", where=path, hint=HINT)
    return table


def read_item_columns(path: Path, count: int, error: type[UserError]) -> pl.DataFrame:
    """Read columns of the items, ``count`` rows.

    Raises:
        error: the number of rows differs, or a column holds neither text, numbers, booleans nor
            lists of texts.
    """
    table = read_checked(path, error)
    if len(table) != count:
        raise error(f"has {len(table):,} rows in place of {count:,}", where=path, hint=HINT)
    for name, dtype in table.schema.items():
        if not (dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.List(pl.String))):
            raise error(f"its column '{name}' is {dtype}", where=path, hint=HINT)
    return table


def read_interactions(path: Path, shape: tuple[int, int], error: type[UserError]) -> pl.DataFrame:
    """Read a table of internal indices into ``shape``, ``(n_users, n_items)``.

    Raises:
        error: a column is missing or no whole number, an index is missing or out of range, or a
            weight is not a positive finite number.
    """
    table = read_checked(path, error)
    for column, size in zip((USER, ITEM), shape, strict=True):
        dtype = table.schema.get(column)
        if dtype is None or not dtype.is_integer():
            raise error(f"has no column '{column}' of whole numbers", where=path, hint=HINT)
        values = table[column]
        if values.null_count() or not values.is_between(0, size - 1).all():
            what = f"column '{column}' has values that are not between 0 and {size - 1:,}"
            raise error(what, where=path, hint=HINT)
    for column in {RATING, TIMESTAMP, WEIGHT} & set(table.columns):
        if not table.schema[column].is_numeric():
            raise error(f"its column '{column}' is no number", where=path, hint=HINT)
    if WEIGHT in table.columns:
        weights = table[WEIGHT].cast(pl.Float64)
        if weights.null_count() or not (weights.is_finite() & (weights > 0.0)).all():
            raise error("has weights that are not positive numbers", where=path, hint=HINT)
    return table.with_columns(pl.col(USER, ITEM).cast(pl.UInt32))


def map_array(path: Path, shape: tuple[int, ...], dtype: str, error: type[UserError]) -> np.ndarray:
    """Memory-map a finite ``.npy`` array of a known shape and dtype.

    Raises:
        error: it is no such array.
    """
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except Exception as cause:  # the parser of a damaged header raises nearly anything
        raise error(f"is no .npy array ({cause})", where=path, hint=HINT) from None
    if mapped.shape != shape or mapped.dtype != np.dtype(dtype):
        what = f"is {mapped.dtype} {mapped.shape} in place of {dtype} {shape}"
        raise error(what, where=path, hint=HINT)
    if not np.isfinite(mapped).all():
        raise error("has values that are not finite", where=path, hint=HINT)
    return mapped


def read_array(
    path: Path, shape: tuple[int, ...], dtype: str, error: type[UserError]
) -> np.ndarray:
    """Read such an array into memory; see :func:`map_array`."""
    return np.array(map_array(path, shape, dtype, error))
