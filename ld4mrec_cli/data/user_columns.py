"""A table with values of users, such as their country, by which metrics are grouped."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import COLUMN_ALIASES, USER, plain_name
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import read_table
from ld4mrec_cli.data.readers.ids import id_texts
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError

MAX_VALUES = 50
"""Most values of a column: more are no groups but numbers or texts."""


def read_user_values(path: Path) -> dict[str, dict[str, str]]:
    """Read a table (CSV, TSV, Parquet) with a column of users and others of values.

    Returns:
        Column → raw user id → value; users without a value are left out.

    Raises:
        SourceError: the table cannot be read, lacks users or values, names a user twice, or a
            column has too many values.
    """
    frame = read_table(path, ReadContext(PrepareConfig()))
    names = [
        name for name in frame.columns if plain_name(name.split(":")[0]) in COLUMN_ALIASES[USER]
    ]
    if not names:
        what = f"has no user column among: {', '.join(frame.columns)}"
        raise SourceError(what, where=path, hint="Name a column 'user' in the first line")
    users = id_texts(frame[names[0]], path)
    repeated = users.drop_nulls().filter(users.drop_nulls().is_duplicated())
    if len(repeated):
        raise SourceError(f"names user '{repeated[0]}' twice", where=path, hint="Mend it")
    columns = {
        name.split(":")[0]: _values_of(users, id_texts(frame[name], path), path, name)
        for name in frame.columns
        if name != names[0]
    }
    if not columns:
        raise SourceError("has no column beside the users", where=path, hint="Add one")
    return columns


def _values_of(users: pl.Series, values: pl.Series, path: Path, name: str) -> dict[str, str]:
    n_values = values.drop_nulls().n_unique()
    if n_values > MAX_VALUES:
        what = f"column '{name}' has {n_values:,} values, and groups have at most {MAX_VALUES}"
        raise SourceError(what, where=path, hint="Leave it out, or put the values into ranges")
    pairs = zip(users.to_list(), values.to_list(), strict=True)
    return {user: value for user, value in pairs if user is not None and value is not None}
