"""Ready-made item features: ``NAME_feat.npy`` (rows in order) and ``NAME_feat.parquet`` (keyed by item id)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from ld4mrec_cli.config import ColumnName
from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.sources.raw import RawFeatures
from ld4mrec_cli.data.sources.reading import Reading
from ld4mrec_cli.data.sources.tabular import find_columns, read_table
from ld4mrec_cli.errors import SourceError

SUFFIX = "_feat"
RESERVED = ("collaborative",)
_CHUNK = 65_536


def feature_files(raw: Path) -> dict[str, Path]:
    """Modality name → feature file of a raw directory, in order of name.

    Raises:
        SourceError: a modality has two files, or a name that cannot be used.
    """
    found: dict[str, Path] = {}
    for path in sorted([*raw.glob(f"*{SUFFIX}.npy"), *raw.glob(f"*{SUFFIX}.parquet")]):
        name = path.stem.removesuffix(SUFFIX)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in RESERVED:
            hint = "A modality is named by letters, digits and underscores, and not 'collaborative'"
            raise SourceError(f"'{name}' cannot name a modality", where=path, hint=hint)
        if name in found:
            raise SourceError(f"modality '{name}' has a second file, {found[name].name}", where=path)
        found[name] = path
    return found


def read_rows(path: Path, count: int, owner: str) -> np.ndarray:
    """Read the first ``count`` rows of a ``.npy``, one per item; ``owner`` says where the items come from.

    Raises:
        SourceError: the file is no numeric 2-D array, has too few rows, or holds NaN or infinity.
    """
    values = load_array(path)
    if len(values) < count:
        what = f"has {len(values)} rows, but {owner} names {count} items"
        raise SourceError(what, where=path, hint="Each item needs its row")
    return values[:count]


def read_keyed(path: Path, reading: Reading) -> RawFeatures:
    """Read a Parquet file with an item column and either one list column or numeric columns.

    ``prepare.columns`` may name the item column, where it is not one of the usual names.

    Raises:
        SourceError: no item column, repeated items, values that are not numeric, NaN or infinity.
    """
    columns = reading.options.columns
    frame = read_table(path, reading)
    mapping: dict[ColumnName, str] = {ITEM: columns[ITEM]} if columns.get(ITEM) in frame.columns else {}
    column = find_columns(frame, path, mapping, required=(ITEM,))[ITEM]
    ids = frame[column].cast(pl.String).str.strip_chars().to_list()
    if None in ids or "" in ids or len(set(ids)) != len(ids):
        raise SourceError(f"column '{column}' has empty or repeated items", where=path)
    rest = frame.drop(column)
    try:
        if rest.width == 1 and isinstance(rest.dtypes[0], pl.List | pl.Array):
            series = rest.to_series()
            lengths = series.cast(pl.List(series.dtype.inner)).list.len()  # type: ignore[attr-defined]
            dim = lengths.max() or 0
            if not bool((lengths == dim).all()) or lengths.null_count():
                raise SourceError("the feature vectors are missing or have different lengths", where=path)
            values = series.explode().to_numpy().reshape(len(ids), dim)  # type: ignore[arg-type]
        else:
            values = rest.to_numpy()
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise SourceError(f"the features cannot be read as numbers ({error})", where=path) from None
    _check(values, path)
    return RawFeatures(path, ids, values)


def load_array(path: Path) -> np.ndarray:
    """Memory-map a ``.npy`` and check it: numeric, two-dimensional, finite. Raises SourceError."""
    try:
        values = np.lib.format.open_memmap(path, mode="r")  # unlike np.load it knows neither .npz nor pickle
    except Exception as error:  # the parser of a damaged header raises nearly anything, TokenError for one
        raise SourceError(f"is not a .npy array of numbers ({error})", where=path) from None
    _check(values, path)
    return values


def _check(values: np.ndarray, path: Path) -> None:
    if values.dtype.kind not in "fiub":
        raise SourceError(f"has dtype {values.dtype}, numbers are needed", where=path)
    if values.ndim != 2 or 0 in values.shape:
        shape = " × ".join(map(str, values.shape)) or "scalar"
        raise SourceError(f"has shape {shape}, (items, columns) is needed", where=path)
    for start, chunk in chunks(values):
        bad = ~np.isfinite(chunk)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise SourceError(
                f"row {start + row}, column {column} (counted from 0) is {chunk[row, column]}",
                where=path,
                hint="Features must be finite; leave an item out of a Parquet file to have it imputed",
            )


def chunks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Cut ``(n, dim)`` values into float32 pieces of some rows: start and piece."""
    for start in range(0, len(values), _CHUNK):
        with np.errstate(over="ignore"):
            yield start, np.asarray(values[start : start + _CHUNK]).astype(np.float32)
