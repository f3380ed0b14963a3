"""Files of ids that users give to `recommend`: items, users, and pairs of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import COLUMN_ALIASES, ITEM, TIMESTAMP, USER, WEIGHT, plain_name
from ld4mrec_cli.data.dataset import Ids
from ld4mrec_cli.data.readers.content import data_suffix
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import read_table
from ld4mrec_cli.data.readers.events import WEIGHT_KIND, parse_weights
from ld4mrec_cli.data.readers.ids import id_texts
from ld4mrec_cli.data.readers.table import TABLES
from ld4mrec_cli.data.readers.times import TIME_KIND, parse_times
from ld4mrec_cli.serving.requests import Pairs
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError, UserError


def read_items(path: Path, ids: Ids) -> list[str]:
    """Items of a table with an item column, or of a text file with an id per line.

    Raises:
        UserError: the file cannot be read, or holds no item.
    """
    if data_suffix(path) in TABLES:
        items = read_ids(path, (ITEM,))[ITEM].to_list()
    else:
        items = [item for item in (match_id(line, ids) for line in read_lines(path)) if item]
    if not items:
        raise UserError("names no item", where=path)
    return items


def read_ids(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> pl.DataFrame:
    """Columns of raw ids of a table (CSV, TSV, Parquet), by our names; other columns are ignored.

    Raises:
        SourceError: the file is no table, a column is missing, or a row has no id.
    """
    columns = read_columns(path, required, optional)
    return pl.DataFrame([check_ids(column, name, path) for name, column in columns.items()])


def check_ids(column: pl.Series, name: str, path: Path) -> pl.Series:
    """A column as raw ids, named ``name``. Raises SourceError where a row has none."""
    ids = id_texts(column, path).alias(name)
    missing = ids.is_null().arg_true()
    if len(missing):
        raise SourceError(f"row {missing[0] + 1} has no {name}", where=path, hint="Mend it")
    return ids


def read_columns(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, pl.Series]:
    """Columns of a table as they are, by our names; those of CSV and TSV are text.

    Raises:
        SourceError: the file is no table, or a required column is missing.
    """
    if data_suffix(path) not in TABLES:
        hint = f"Tables end in {', '.join(TABLES)}"
        raise SourceError(
            "is not a table" if path.exists() else "no such file", where=path, hint=hint
        )
    frame = read_table(path, ReadContext(PrepareConfig()))
    by_plain_name = {plain_name(name.split(":")[0]): name for name in reversed(frame.columns)}
    columns = {}
    for name in (*required, *optional):
        aliases = COLUMN_ALIASES[name] or (name,)
        known = (by_plain_name[alias] for alias in aliases if alias in by_plain_name)
        column = next(known, None)
        if column is not None:
            columns[name] = frame[column]
        elif name in required:
            what = f"has no {name} column among: {', '.join(frame.columns)}"
            hint = f"Name a column '{name}' in the first line"
            raise SourceError(what, where=path, hint=hint)
    return columns


def read_pairs(path: Path, *, with_weights: bool = False, with_times: bool = False) -> Pairs:
    """Users and items of a table, and its columns ``weight`` and ``timestamp``, if there are any.

    Args:
        path: the table.
        with_weights: whether weights are read.
        with_times: whether times are read.

    Raises:
        UserError: as :func:`read_ids`; the table has no row, or a weight or a time is none.
    """
    optional = (*((WEIGHT,) if with_weights else ()), *((TIMESTAMP,) if with_times else ()))
    columns = read_columns(path, (USER, ITEM), optional)
    users, items = (check_ids(columns[name], name, path).to_list() for name in (USER, ITEM))
    if not users:
        raise SourceError("names no user and item", where=path)
    weights = times = None
    if WEIGHT in columns:
        weights = _parse(columns[WEIGHT], parse_weights, WEIGHT_KIND, path).to_numpy()
    if TIMESTAMP in columns:
        times = _parse(columns[TIMESTAMP], parse_times, TIME_KIND, path)
    return Pairs(users, items, path, weights, times)


def _parse(
    column: pl.Series, parse: Callable[[pl.Series], pl.Series], kind: str, path: Path
) -> pl.Series:
    """The parsed column. Raises SourceError for the first row that is no ``kind``."""
    values = parse(column)
    for row in values.is_null().arg_true():
        what = f"row {row + 1}: '{column[row]}' is not {kind}"
        raise SourceError(what, where=path, hint="Mend it")
    return values


def read_lines(path: Path) -> list[str]:
    """Lines of a text file, split at newlines alone: ids may hold other Unicode line breaks.

    Raises:
        UserError: there is no such file, or it is no UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError("no such file", where=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", where=path) from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def match_id(text: str, ids: Ids) -> str:
    """The id as it stands or, unless that is known, without the spaces around it."""
    return text if text in ids else text.strip()
