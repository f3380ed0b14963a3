"""Ready-made item features: ``NAME_feat.npy`` (rows in order), and keyed by item id ``NAME_feat.{parquet,npz}``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.readers.base import RawFeatures
from ld4mrec_cli.data.readers.columns import feature_mapping, find_columns
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import read_table
from ld4mrec_cli.data.readers.npz import check_npz
from ld4mrec_cli.utils.errors import SourceError

SUFFIX = "_feat"
KEYED = (".parquet", ".npz")
"""Suffixes of feature files that name the item of each row."""
RESERVED = ("collaborative",)
_ID_NAMES = ("ids", "item_ids", "items")
_VALUE_NAMES = ("features", "values", "vectors")
_CHUNK = 65_536
_CHUNK_VALUES = 1 << 26


def feature_files(raw: Path) -> dict[str, Path]:
    """Modality name → feature file of a raw directory, in order of name.

    Raises:
        SourceError: a modality has two files, or a name that cannot be used.
    """
    found: dict[str, Path] = {}
    for path in sorted(
        path for suffix in (".npy", *KEYED) for path in raw.glob(f"*{SUFFIX}{suffix}")
    ):
        name = path.stem.removesuffix(SUFFIX)
        check_name(name, path)
        if name in found:
            raise SourceError(
                f"modality '{name}' has a second file, {found[name].name}", where=path
            )
        found[name] = path
    return found


def check_name(name: str, path: Path) -> None:
    """Raise SourceError unless ``name``, found in ``path``, can name a modality."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in RESERVED:
        hint = "A modality is named by letters, digits and underscores, and not 'collaborative'"
        raise SourceError(f"'{name}' cannot name a modality", where=path, hint=hint)


def is_keyed(path: Path) -> bool:
    """Whether a feature file names the item of each row; otherwise its rows are in order."""
    return path.suffix in KEYED


def read_rows(path: Path, count: int, owner: str, *, exact: bool = False) -> np.ndarray:
    """Read the first ``count`` rows of a ``.npy``, one per item; ``owner`` says where the items come from.

    Raises:
        SourceError: the file is no numeric 2-D array, has too few rows (``exact``: or too many), or holds
            NaN or infinity.
    """
    values = load_array(path)
    if len(values) < count or (exact and len(values) > count):
        what = f"has {len(values)} rows, but {owner} names {count} items"
        raise SourceError(what, where=path, hint="Each item needs its row")
    return values[:count]


def read_keyed(path: Path, context: ReadContext) -> RawFeatures:
    """Read features keyed by raw item id: a ``.npz`` of an id array and a 2-D array, or a Parquet table.

    The table has an item column and either one list column or numeric columns. ``prepare.columns`` may
    name the item column, where it is not one of the usual names.

    Raises:
        SourceError: no items, repeated items, values that are not numeric, NaN or infinity.
    """
    return _read_npz(path) if path.suffix == ".npz" else _read_keyed_table(path, context)


def read_keyed_features(raw: Path, context: ReadContext) -> dict[str, RawFeatures]:
    """Read the feature files of a layout where rows in order belong to no known items.

    Raises:
        SourceError: a file is not keyed by item, or as :func:`read_keyed`.
    """
    features: dict[str, RawFeatures] = {}
    for name, path in feature_files(raw).items():
        if not is_keyed(path):
            what = "its rows cannot be told apart here; give Parquet keyed by item, or .npz"
            raise SourceError(what, where=path)
        features[name] = read_keyed(path, context)
    return features


def _read_keyed_table(path: Path, context: ReadContext) -> RawFeatures:
    frame = read_table(path, context)
    column = find_columns(
        frame, path, feature_mapping(frame, context.options.columns), required=(ITEM,)
    )[ITEM]
    ids = frame[column].cast(pl.String).str.strip_chars().to_list()
    _check_ids(ids, f"column '{column}'", path)
    rest = frame.drop(column)
    try:
        if rest.width == 1 and isinstance(rest.dtypes[0], pl.List | pl.Array):
            series = rest.to_series()
            lengths = series.cast(pl.List(series.dtype.inner)).list.len()  # type: ignore[attr-defined]
            dim = lengths.max() or 0
            if not bool((lengths == dim).all()) or lengths.null_count():
                raise SourceError(
                    "the feature vectors are missing or have different lengths", where=path
                )
            values = series.explode().to_numpy().reshape(len(ids), dim)  # type: ignore[arg-type]
        else:
            values = rest.to_numpy()
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise SourceError(f"the features cannot be read as numbers ({error})", where=path) from None
    check_values(values, path)
    return RawFeatures(path, ids, values)


def _read_npz(path: Path) -> RawFeatures:
    try:
        check_npz(path)
        with path.open("rb") as handle:  # numpy leaves a damaged archive open
            archive = np.load(
                handle, allow_pickle=False
            )  # an object array is an error, never unpickled
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            id_name, value_name = (
                _only(names, archive.files, path) for names in (_ID_NAMES, _VALUE_NAMES)
            )
            ids, values = archive[id_name], archive[value_name]
    except SourceError:
        raise
    except Exception as error:  # damaged archives and headers raise nearly anything
        hint = "Text ids are saved as ids.astype(str)" if "Object arrays" in str(error) else None
        raise SourceError(f"is not a .npz of arrays ({error})", where=path, hint=hint) from None
    items = _ids_of(ids, id_name, path)
    _check_ids(items, f"array '{id_name}'", path)
    check_values(values, path)
    if len(items) != len(values):
        raise SourceError(
            f"'{id_name}' has {len(items)} rows and '{value_name}' has {len(values)}", where=path
        )
    return RawFeatures(path, items, values)


def _only(names: tuple[str, ...], there: list[str], path: Path) -> str:
    """The one of some names that an archive has."""
    found = [name for name in names if name in there]
    if len(found) != 1:
        what = f"has both {' and '.join(found)}" if found else f"has no array {' or '.join(names)}"
        raise SourceError(f"{what}; its arrays are: {', '.join(there) or 'none'}", where=path)
    return found[0]


def _ids_of(ids: np.ndarray, name: str, path: Path) -> list[str]:
    if ids.dtype.kind not in "USiu" or ids.ndim != 1:
        what = f"'{name}' is {ids.dtype} with {ids.ndim} dimensions; one of text or whole numbers is needed"
        raise SourceError(what, where=path)
    try:
        text = np.char.decode(ids, "utf-8") if ids.dtype.kind == "S" else ids.astype(str)
    except UnicodeDecodeError:
        raise SourceError(f"'{name}' is not UTF-8 text", where=path) from None
    return [item.strip() for item in text.tolist()]


def _check_ids(ids: list[str], where: str, path: Path) -> None:
    if None in ids or "" in ids or len(set(ids)) != len(ids):
        raise SourceError(f"{where} has empty or repeated items", where=path)


def load_array(path: Path) -> np.ndarray:
    """Memory-map a ``.npy`` and check it: numeric, two-dimensional, finite. Raises SourceError."""
    try:
        values = np.lib.format.open_memmap(
            path, mode="r"
        )  # unlike np.load it knows neither .npz nor pickle
    except (
        Exception
    ) as error:  # the parser of a damaged header raises nearly anything, TokenError for one
        raise SourceError(f"is not a .npy array of numbers ({error})", where=path) from None
    check_values(values, path)
    return values


def check_values(values: np.ndarray, path: Path) -> None:
    """Raise SourceError unless ``values``, found in ``path``, are numeric, two-dimensional and finite."""
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
                hint="Features must be finite; leave an item out of a file keyed by item to have it imputed",
            )


def chunks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Cut ``(n, dim)`` values into float32 pieces of some rows: start and piece."""
    rows = max(1, min(_CHUNK, _CHUNK_VALUES // max(1, values.shape[1])))
    for start in range(0, len(values), rows):
        with np.errstate(over="ignore"):
            yield start, np.asarray(values[start : start + rows]).astype(np.float32)
