"""Ready-made item features: ``NAME_feat.npy`` has its rows in the order of the items.

``NAME_feat.parquet`` and ``NAME_feat.npz`` are keyed: they hold the item id of each row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.readers.base import RawFeatures
from ld4mrec_cli.data.readers.columns import feature_mapping, find_columns
from ld4mrec_cli.data.readers.content import part_files
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import read_table
from ld4mrec_cli.data.readers.ids import id_texts
from ld4mrec_cli.data.readers.npz import check_npz
from ld4mrec_cli.utils.errors import SourceError

SUFFIX = "_feat"
KEYED = (".parquet", ".npz")
"""Suffixes of feature files that hold the item id of each row."""
RESERVED = ("collaborative",)
_INDEX_NAME = re.compile(r"__index_level_\d+__|Unnamed: \d+(\.\d+)?")
"""Names that pandas gives to a stored index."""
_ID_NAMES = ("ids", "item_ids", "items")
_VALUE_NAMES = ("features", "values", "vectors")
_CHUNK = 65_536
_CHUNK_VALUES = 1 << 26


def feature_files(raw: Path) -> dict[str, Path]:
    """Modality name → feature file of a raw directory, in order of name.

    Raises:
        SourceError: a modality has two files, or a name that cannot be used.
    """
    files: dict[str, Path] = {}
    for path in sorted(
        path for suffix in (".npy", *KEYED) for path in raw.glob(f"*{SUFFIX}{suffix}")
    ):
        name = path.stem.removesuffix(SUFFIX)
        check_name(name, path)
        if name in files:
            raise SourceError(
                f"modality '{name}' has a second file, {files[name].name}", where=path
            )
        files[name] = path
    return files


def check_name(name: str, path: Path) -> None:
    """Raise SourceError unless ``name``, from ``path``, can name a modality."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in RESERVED:
        hint = "A modality is named by letters, digits and underscores, and not 'collaborative'"
        raise SourceError(f"'{name}' cannot name a modality", where=path, hint=hint)


def is_keyed(path: Path) -> bool:
    """Whether a feature file holds the item id of each row; otherwise its rows are in order."""
    return path.suffix in KEYED


def read_rows(path: Path, count: int, owner: str, *, exact: bool = False) -> np.ndarray:
    """Read the first ``count`` rows of a ``.npy``, one per item.

    Args:
        owner: name of the file that lists the items, for messages.
        exact: more rows than ``count`` are an error too.

    Raises:
        SourceError: the file is no numeric 2-D array, has too few rows, or holds NaN or infinity.
    """
    values = load_array(path)
    if len(values) < count or (exact and len(values) > count):
        what = f"has {len(values)} rows, but {owner} names {count} items"
        raise SourceError(what, where=path, hint="Each item needs its row")
    return values[:count]


def read_keyed(path: Path, context: ReadContext) -> RawFeatures:
    """Read features keyed by raw item id: a ``.npz`` of ids and a 2-D array, or a Parquet table.

    The table has an item column and either one list column or numeric columns; index columns of
    pandas are no features. ``prepare.columns`` may name the item column.

    Raises:
        SourceError: no items, repeated items, values that are not numeric, NaN or infinity.
    """
    return _read_npz(path) if path.suffix == ".npz" else _read_keyed_table(path, context)


def read_keyed_features(raw: Path, context: ReadContext) -> dict[str, RawFeatures]:
    """Read the feature files of a layout whose items have no order for the rows of a ``.npy``.

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
    ids = _unique_ids(id_texts(frame[column], path).to_list(), f"column '{column}'", path)
    vectors = frame.drop(column, *_index_columns(frame, column, path))
    _check_dtypes(vectors, path)
    try:
        if vectors.width == 1 and isinstance(vectors.dtypes[0], pl.List | pl.Array):
            values = _stack_lists(vectors.to_series(), path)
        else:
            values = vectors.to_numpy()
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise SourceError(f"the features cannot be read as numbers ({error})", where=path) from None
    check_values(values, path)
    return RawFeatures(path, ids, values)


def _index_columns(frame: pl.DataFrame, item_column: str, path: Path) -> list[str]:
    """The columns that hold an index of pandas: by the metadata of the file, or by their names."""
    names: set[str] = set()
    for part in part_files(path):
        metadata = pl.read_parquet_metadata(part).get("pandas", "{}")
        with suppress(ValueError, TypeError, AttributeError, RecursionError):
            indexes = json.loads(metadata).get("index_columns", [])
            names |= {name for name in indexes if isinstance(name, str)}
    return [
        column
        for column in frame.columns
        if column != item_column and (column in names or _INDEX_NAME.fullmatch(column))
    ]


def _check_dtypes(vectors: pl.DataFrame, path: Path) -> None:
    """Raise SourceError where the columns are neither all numbers nor one list."""
    lists = [
        name for name, dtype in vectors.schema.items() if isinstance(dtype, pl.List | pl.Array)
    ]
    others = [name for name in vectors.columns if name not in lists]
    if lists and vectors.width > 1:
        what = f"has the list column '{lists[0]}' beside '{(lists[1:] + others)[0]}'"
        hint = "Keep the item column and one list column, or numeric columns"
        raise SourceError(what, where=path, hint=hint)
    for name in others:
        dtype = vectors.schema[name]
        if not dtype.is_numeric() and dtype not in (pl.Boolean, pl.Null):
            what = f"column '{name}' holds {dtype}, numbers are needed"
            raise SourceError(what, where=path, hint="Leave it out of the file")


def _stack_lists(series: pl.Series, path: Path) -> np.ndarray:
    lengths = series.cast(pl.List(series.dtype.inner)).list.len()  # type: ignore[attr-defined]
    dim = lengths.max() or 0
    if not bool((lengths == dim).all()) or lengths.null_count():
        raise SourceError("the feature vectors are missing or have different lengths", where=path)
    return series.explode().to_numpy().reshape(len(series), dim)  # type: ignore[arg-type]


def _read_npz(path: Path) -> RawFeatures:
    try:
        check_npz(path)
        with path.open("rb") as handle:  # numpy leaves a damaged archive open
            # an object array is an error, never unpickled
            archive = np.load(handle, allow_pickle=False)
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
    items = _unique_ids(_ids_of(ids, id_name, path), f"array '{id_name}'", path)
    check_values(values, path)
    if len(items) != len(values):
        raise SourceError(
            f"'{id_name}' has {len(items)} rows and '{value_name}' has {len(values)}", where=path
        )
    return RawFeatures(path, items, values)


def _only(names: tuple[str, ...], arrays: list[str], path: Path) -> str:
    """The one of some names that an archive has."""
    matches = [name for name in names if name in arrays]
    if len(matches) != 1:
        both, none = " and ".join(matches), " or ".join(names)
        what = f"has both {both}" if matches else f"has no array {none}"
        raise SourceError(f"{what}; its arrays are: {', '.join(arrays) or 'none'}", where=path)
    return matches[0]


def _ids_of(ids: np.ndarray, name: str, path: Path) -> list[str | None]:
    if ids.dtype.kind not in "USiuf" or ids.ndim != 1:
        what = f"'{name}' is {ids.dtype} with {ids.ndim} dimensions"
        raise SourceError(f"{what}; one of text or whole numbers is needed", where=path)
    if ids.dtype.kind == "f":
        bits = int(np.finfo(ids.dtype).nmant) + 1
        texts = id_texts(pl.Series(ids.astype(np.float64)), path, f"array '{name}'", min(bits, 53))
        return texts.to_list()
    try:
        text = np.char.decode(ids, "utf-8") if ids.dtype.kind == "S" else ids.astype(str)
    except UnicodeDecodeError:
        raise SourceError(f"'{name}' is not UTF-8 text", where=path) from None
    return [item.strip() for item in text.tolist()]


def _unique_ids(ids: Sequence[str | None], where: str, path: Path) -> list[str]:
    texts = [item for item in ids if item]
    if len(texts) != len(ids) or len(set(texts)) != len(texts):
        raise SourceError(f"{where} has empty or repeated items", where=path)
    return texts


def load_array(path: Path) -> np.ndarray:
    """Memory-map a ``.npy`` and check it: numeric, two-dimensional, finite. Raises SourceError."""
    try:
        # unlike np.load it reads neither .npz nor pickle
        values = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header raises nearly anything, TokenError for one
        raise SourceError(f"is not a .npy array of numbers ({error})", where=path) from None
    check_values(values, path)
    return values


def check_values(values: np.ndarray, path: Path) -> None:
    """Raise SourceError unless ``values`` of ``path`` are numeric, two-dimensional and finite."""
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
                hint="Features must be finite; an item that a keyed file leaves out is imputed",
            )


def chunks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Cut ``(n, dim)`` values into float32 pieces of some rows: start and piece."""
    rows = max(1, min(_CHUNK, _CHUNK_VALUES // max(1, values.shape[1])))
    for start in range(0, len(values), rows):
        with np.errstate(over="ignore"):
            yield start, np.asarray(values[start : start + rows]).astype(np.float32)
