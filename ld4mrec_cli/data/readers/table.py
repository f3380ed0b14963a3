"""Plain tables: ``interactions.{csv,tsv,parquet}``, ``items.{csv,tsv,parquet}``, ``NAME_feat.{npy,parquet,npz}``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import ITEM, TITLE, plain_name
from ld4mrec_cli.data.readers.arrays import feature_files, is_keyed, read_keyed, read_rows
from ld4mrec_cli.data.readers.base import RawData, RawFeatures
from ld4mrec_cli.data.readers.columns import (
    check_plain,
    find_columns,
    interactions_from,
    item_mapping,
)
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import read_table, report_bad_lines
from ld4mrec_cli.data.readers.unused import hint_text_columns
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError, nearest

TABLES = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz")


def fits(raw: Path) -> bool:
    """Whether a directory has a table that is named as the interactions."""
    return any((raw / f"interactions{suffix}").is_file() for suffix in TABLES)


def read(raw: Path, context: ReadContext) -> RawData:
    """Read a directory of plain tables, or a single table.

    Raises:
        SourceError: no interaction table, a malformed line, features that do not fit the items.
    """
    path = _interaction_table(raw, context.options)
    interactions = interactions_from(read_table(path, context), path, context)
    files = [path]
    items = pl.DataFrame({ITEM: interactions[ITEM].unique(maintain_order=True)})
    notes: dict[str, int] = {}
    listed = _item_table(raw, context.options)
    before = context.n_bad_lines
    if listed is not None:
        items, notes = read_items(listed, context)
        files.append(listed)
    whole = listed is not None and not notes and context.n_bad_lines == before
    features: dict[str, RawFeatures] = {}
    for name, feature in feature_files(raw).items():
        if is_keyed(feature):
            features[name] = read_keyed(feature, context)
        elif listed is None or not whole:
            needed = "an items table" + (" without repeated or malformed items" if listed else "")
            raise SourceError(f"its rows follow the items, so {needed} is needed", where=feature)
        else:
            ids = items[ITEM].to_list()
            features[name] = RawFeatures(
                feature, ids, read_rows(feature, len(ids), listed.name, exact=True)
            )
        files.append(feature)
    item_files = [] if listed is None else [listed]
    return RawData(
        "table", interactions, lambda _: items, features, files, notes, item_files=item_files
    )


def _interaction_table(raw: Path, options: PrepareConfig) -> Path:
    if options.interactions is not None:
        return _locate(raw, options.interactions)
    path = raw if raw.is_file() else interaction_file(raw)
    if path is None:
        raise SourceError(
            "holds no interaction table (interactions.csv, .tsv or .parquet)",
            where=raw,
            hint="Name it with --interactions FILE",
        )
    return path


def _item_table(raw: Path, options: PrepareConfig) -> Path | None:
    return item_file(raw) if options.items is None else _locate(raw, options.items)


def _locate(raw: Path, path: Path) -> Path:
    """A table as the user named it, or else in the raw directory. Raises SourceError for others."""
    path = path if path.exists() or not (raw / path).is_file() else raw / path
    if path.is_file() and not has_table_name(path):
        raise SourceError("is not a table", where=path, hint=f"Tables end in {', '.join(TABLES)}")
    return path


def has_table_name(path: Path) -> bool:
    """Whether a file is named as a table."""
    return path.name.lower().endswith(TABLES)


def table_stem(path: Path) -> str:
    """Name of a table without its suffix: ``orders`` of ``orders.csv.gz``."""
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name


def interaction_file(raw: Path) -> Path | None:
    """The interaction table: the one named so, else the only table that is neither items nor features."""
    paths = [raw / f"interactions{suffix}" for suffix in TABLES]
    paths = [path for path in paths if path.is_file()]
    others = [
        path
        for path in sorted(raw.iterdir())
        if has_table_name(path)
        and table_stem(path) not in ("items", "users")
        and not table_stem(path).endswith("_feat")
    ]
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise SourceError(f"holds several interaction tables: {names}", where=raw)
    if paths:
        return paths[0]
    return others[0] if len(others) == 1 else None


def item_file(raw: Path) -> Path | None:
    """The table of the items, where there is one. Raises SourceError where there are several."""
    paths = [raw / f"items{suffix}" for suffix in TABLES if (raw / f"items{suffix}").is_file()]
    if len(paths) > 1:
        raise SourceError(
            "holds several item tables: " + ", ".join(path.name for path in paths), where=raw
        )
    return paths[0] if paths else None


def read_items(path: Path, context: ReadContext) -> tuple[pl.DataFrame, dict[str, int]]:
    """Read titles and text fields of the items, one row per item; repeated items keep their first row.

    Returns:
        The table, and a count of the repeated rows where there are any.

    Raises:
        SourceError: the table cannot be read, or what :func:`items_from` refuses.
    """
    return items_from(read_table(path, context), path, context)


def items_from(
    frame: pl.DataFrame,
    path: Path,
    context: ReadContext,
    also: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Pick item, title and text fields of a table as :func:`read_items` does.

    Args:
        also: other names of text fields, in lower case without punctuation.

    Raises:
        SourceError: a column is missing or holds no text; or, unless ``reading`` leaves such lines out,
            an item is empty.
    """
    mapping = item_mapping(frame, context.options.columns)
    found = find_columns(frame, path, mapping, required=(ITEM,), optional=(TITLE,), table="items.")
    text = _text_columns(frame, path, context.options, found, also or {})
    hint_text_columns(frame, path, {*found.values(), *text.values()}, context, title=TITLE in found)
    items = frame.select(
        pl.col(found[ITEM]).cast(pl.String).str.strip_chars().alias(ITEM),
        *(
            pl.col(column).cast(pl.String).alias(TITLE)
            for name, column in found.items()
            if name == TITLE
        ),
        *(_joined(frame, column).alias(name) for name, column in text.items()),
    )
    empty = items[ITEM].is_null() | (items[ITEM] == "")
    if empty.any():
        report_bad_lines(
            path, dict.fromkeys(empty.arg_true(), f"no value in column '{found[ITEM]}'"), context
        )
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
    found: Mapping[str, str],
    also: Mapping[str, tuple[str, ...]],
) -> dict[str, str]:
    """Text field → column. A field that is missing is an error only where the user asked for it."""
    plain = {
        plain_name(column): column
        for column in reversed(frame.columns)
        if column not in found.values()
    }
    text = {}
    for name in content_fields(options):
        others = (plain[other] for other in also.get(name, ()) if other in plain)
        column = name if name in frame.columns else next(others, None)
        if column is not None:
            dtype = frame.schema[column]
            check_plain(dtype.inner if isinstance(dtype, pl.List) else dtype, column, path)  # type: ignore[arg-type]
            text[name] = column
    if options.text_fields != PrepareConfig.model_fields["text_fields"].default:
        missing = [
            name for name in options.text_fields if name not in text and name not in (*found, ITEM)
        ]
        if missing:
            raise SourceError(
                f"has no text field '{missing[0]}'",
                where=path,
                hint=nearest(missing[0], frame.columns),
            )
    return text


def _joined(frame: pl.DataFrame, column: str) -> pl.Expr:
    if isinstance(frame.schema[column], pl.List):
        return pl.col(column).cast(pl.List(pl.String)).list.join(" ")
    return pl.col(column).cast(pl.String)
