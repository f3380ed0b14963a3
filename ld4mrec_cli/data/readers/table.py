"""Plain tables: ``interactions`` and ``items`` as CSV, TSV or Parquet, and ``NAME_feat`` files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import ITEM, TITLE, plain_name
from ld4mrec_cli.data.item_columns import pack_columns
from ld4mrec_cli.data.readers.arrays import feature_files, is_keyed, read_keyed, read_rows
from ld4mrec_cli.data.readers.base import RawData, RawFeatures
from ld4mrec_cli.data.readers.columns import (
    check_plain,
    find_columns,
    interactions_from,
    item_mapping,
)
from ld4mrec_cli.data.readers.content import data_name, data_suffix
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import read_table, report_bad_lines
from ld4mrec_cli.data.readers.html_text import plain_texts
from ld4mrec_cli.data.readers.ids import id_texts
from ld4mrec_cli.data.readers.unused import hint_text_columns
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError, nearest

TABLES = (".csv", ".tsv", ".parquet")
"""Suffixes of tables; delimited text may be gzipped, whatever its name."""
_NAMES = tuple(suffix + gz for gz in ("", ".gz", ".gz.gz") for suffix in TABLES)


def fits(raw: Path) -> bool:
    """Whether a directory has a table that is named as the interactions."""
    return bool(_tables(raw, "interactions"))


def read(raw: Path, context: ReadContext) -> RawData:
    """Read a directory of plain tables, or a single table.

    Raises:
        SourceError: no interaction table, a malformed line, features that do not fit the items.
    """
    path = _interaction_path(raw, context.options)
    interactions = interactions_from(read_table(path, context), path, context)
    files = [path]
    items = pl.DataFrame({ITEM: interactions[ITEM].unique(maintain_order=True)})
    notes: dict[str, int] = {}
    item_path = _item_path(raw, context.options)
    n_bad_lines = context.n_bad_lines
    if item_path is not None:
        items, notes = read_items(item_path, context)
        files.append(item_path)
    is_complete = not notes and context.n_bad_lines == n_bad_lines
    features: dict[str, RawFeatures] = {}
    for name, feature in feature_files(raw).items():
        if is_keyed(feature):
            features[name] = read_keyed(feature, context)
        elif item_path is None or not is_complete:
            needed = "an items table" + (
                " without repeated or malformed items" if item_path else ""
            )
            raise SourceError(f"its rows follow the items, so {needed} is needed", where=feature)
        else:
            ids = items[ITEM].to_list()
            rows = read_rows(feature, len(ids), item_path.name, exact=True)
            features[name] = RawFeatures(feature, ids, rows)
        files.append(feature)
    return RawData(
        "table",
        interactions,
        lambda _: items,
        features,
        files,
        notes,
        item_files=[] if item_path is None else [item_path],
    )


def _interaction_path(raw: Path, options: PrepareConfig) -> Path:
    if options.interactions is not None:
        return _locate(raw, options.interactions)
    path = raw if is_table(raw) else interaction_file(raw)
    if path is None:
        what = "holds no interaction table (interactions.csv, .tsv or .parquet)"
        raise SourceError(what, where=raw, hint="Name it with --interactions FILE")
    return path


def _item_path(raw: Path, options: PrepareConfig) -> Path | None:
    if options.items is not None:
        return _locate(raw, options.items)
    return None if is_table(raw) else item_file(raw)


def _locate(raw: Path, path: Path) -> Path:
    """The table at ``path``, or at ``path`` in the raw directory. Raises SourceError."""
    if not path.exists() and (raw / path).exists():
        path = raw / path
    if not path.exists():
        raise SourceError("no such file", where=path)
    if not is_table(path):
        raise SourceError("is not a table", where=path, hint=f"Tables end in {', '.join(TABLES)}")
    return path


def is_table(path: Path) -> bool:
    """Whether a path is a file with the name of a table, or a directory of Parquet parts."""
    suffix = data_suffix(path)
    return suffix == ".parquet" if path.is_dir() else path.is_file() and suffix in TABLES


def table_stem(path: Path) -> str:
    """Name of a table without its suffixes: ``orders`` of ``orders.csv.gz``."""
    return Path(data_name(path)).stem


def interaction_file(raw: Path) -> Path | None:
    """The interaction table: ``interactions``, else the only table but items and features."""
    usual = _tables(raw, "interactions")
    if len(usual) > 1:
        names = ", ".join(path.name for path in usual)
        raise SourceError(f"holds several interaction tables: {names}", where=raw)
    if usual:
        return usual[0]
    others = [
        path
        for path in sorted(raw.iterdir())
        if is_table(path)
        and table_stem(path) not in ("items", "users")
        and not table_stem(path).endswith("_feat")
    ]
    return others[0] if len(others) == 1 else None


def item_file(raw: Path) -> Path | None:
    """The table of the items, where there is one. Raises SourceError where there are several."""
    paths = _tables(raw, "items")
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise SourceError(f"holds several item tables: {names}", where=raw)
    return paths[0] if paths else None


def _tables(raw: Path, stem: str) -> list[Path]:
    return [raw / f"{stem}{suffix}" for suffix in _NAMES if (raw / f"{stem}{suffix}").exists()]


def read_items(path: Path, context: ReadContext) -> tuple[pl.DataFrame, dict[str, int]]:
    """Read titles and text fields of the items, one row per item; of repeated items the first.

    Returns:
        The table, and a count of the repeated rows where there are any.

    Raises:
        SourceError: the table cannot be read, or :func:`items_from` refuses it.
    """
    return items_from(read_table(path, context), path, context)


def items_from(
    frame: pl.DataFrame,
    path: Path,
    context: ReadContext,
    also: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Pick item, title and text fields of a table as :func:`read_items` does.

    The values of its other columns come with them, as structs.

    Args:
        also: other names of text fields, in lower case without punctuation.

    Raises:
        SourceError: a column is missing or holds no text, or float ids are too large to be exact;
            or, unless ``context`` skips such lines, a row has no item.
    """
    mapping = item_mapping(frame, context.options.columns)
    columns = find_columns(
        frame, path, mapping, required=(ITEM,), optional=(TITLE,), table="items."
    )
    texts = {name: column for name, column in columns.items() if name == TITLE}
    texts |= _text_columns(frame, path, context.options, columns, also or {})
    hint_text_columns(frame, path, {columns[ITEM], *texts.values()}, context, title=TITLE in texts)
    items = pl.DataFrame(
        [
            id_texts(frame[columns[ITEM]], path).alias(ITEM),
            *(_read_text(frame[column]).alias(name) for name, column in texts.items()),
        ]
    )
    packed = pack_columns(frame, {columns[ITEM], columns.get(TITLE, columns[ITEM])})
    if packed is not None:
        items = items.with_columns(packed)
    empty = items[ITEM].is_null()
    if empty.any():
        fault = f"no value in column '{columns[ITEM]}'"
        report_bad_lines(path, dict.fromkeys(empty.arg_true(), fault), context)
        items = items.filter(~empty)
    unique = items.unique(subset=ITEM, keep="first", maintain_order=True)
    repeated = len(items) - len(unique)
    return unique, {"repeated items": repeated} if repeated else {}


def content_fields(options: PrepareConfig) -> list[str]:
    """The text fields that are read besides item and title, each once."""
    return [name for name in dict.fromkeys(options.text_fields) if name not in (ITEM, TITLE)]


def _text_columns(
    frame: pl.DataFrame,
    path: Path,
    options: PrepareConfig,
    columns: Mapping[str, str],
    also: Mapping[str, tuple[str, ...]],
) -> dict[str, str]:
    """Text field → column. A field that is missing is an error only where the user asked for it."""
    by_plain_name = {
        plain_name(column): column
        for column in reversed(frame.columns)
        if column not in columns.values()
    }
    text = {}
    for name in content_fields(options):
        aliases = (by_plain_name[alias] for alias in also.get(name, ()) if alias in by_plain_name)
        column = name if name in frame.columns else next(aliases, None)
        if column is not None:
            dtype = frame.schema[column]
            check_plain(dtype.inner if isinstance(dtype, pl.List) else dtype, column, path)  # type: ignore[arg-type]
            text[name] = column
    if options.text_fields != PrepareConfig.model_fields["text_fields"].default:
        missing = [
            name
            for name in options.text_fields
            if name not in text and name not in (*columns, ITEM)
        ]
        if missing:
            raise SourceError(
                f"has no text field '{missing[0]}'",
                where=path,
                hint=nearest(missing[0], frame.columns),
            )
    return text


def _read_text(column: pl.Series) -> pl.Series:
    """A text column without HTML; a list is joined, and NaN (of pandas) is no text."""
    if isinstance(column.dtype, pl.List):
        texts = column.cast(pl.List(pl.String)).list.join(" ")
    elif column.dtype.is_float():
        texts = column.fill_nan(None).cast(pl.String)
    else:
        texts = column.cast(pl.String)
    return plain_texts(texts)
