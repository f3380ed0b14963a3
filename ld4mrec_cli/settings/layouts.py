"""The raw layouts that `prepare` reads. Help, messages and the readers derive from this table."""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
"""Recognize the layout from file names and headers."""


@dataclass(frozen=True)
class Layout:
    """A raw layout and its reader."""

    files: str
    """The files of the layout, in a few words."""
    reader: str
    """Module in ``ld4mrec_cli.data.readers`` with ``fits(raw)`` and ``read(raw, context)``."""


LAYOUTS: dict[str, Layout] = {
    "amazon": Layout(
        "Amazon reviews of 2014, 2018 or 2023: reviews or ratings, meta_*.json", "amazon.reader"
    ),
    "mmrec": Layout("MMRec: one *.inter, NAME_feat.npy, items.tsv", "mmrec"),
    "movielens": Layout(
        "MovieLens: ratings.csv and movies.csv, ratings.dat and movies.dat, or u.data and u.item",
        "movielens",
    ),
    "recbole": Layout("RecBole's atomic files: *.inter with typed headers, *.item", "recbole"),
    "table": Layout("CSV, TSV or Parquet tables: interactions.csv, items.csv", "table"),
}
"""Layout by name. To add one, write its reader and name it here."""


def list_layouts() -> str:
    """Names of the layouts as a user reads them: ``amazon, mmrec or table``."""
    *names, last = LAYOUTS
    return f"{', '.join(names)} or {last}"
