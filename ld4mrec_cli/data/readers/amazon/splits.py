"""The splits that Amazon 2023 publishes: ``X.train.csv``, ``X.valid.csv``, ``X.test.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import SPLIT
from ld4mrec_cli.data.readers.amazon.generations import Generation
from ld4mrec_cli.data.readers.amazon.records import collect, rating_rows
from ld4mrec_cli.data.readers.content import data_name
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.times import concat_times
from ld4mrec_cli.data.splits import SPLIT_CODES, SPLITS
from ld4mrec_cli.utils.errors import SourceError


def find_split_files(ratings: Sequence[Path]) -> dict[str, Path]:
    """The files of a published split by split, in order; empty where no table is named so.

    Raises:
        SourceError: a split is missing or there twice, or there are further tables.
    """
    paths: dict[str, Path] = {}
    others: list[Path] = []
    names: set[str] = set()
    for path in ratings:
        name, split = _parse_name(path)
        if split is None:
            others.append(path)
            continue
        names.add(name)
        if split in paths:
            raise SourceError(f"is the {split} split, and {paths[split].name} too", where=path)
        paths[split] = path
    if not paths:
        return {}
    if others:
        what = f"is beside a published split ({next(iter(paths.values())).name})"
        raise SourceError(what, where=others[0], hint="Keep the split alone, or the other table")
    name = min(names)
    if len(names) > 1:
        what = f"holds the splits of {' and '.join(sorted(names))}"
        raise SourceError(what, where=ratings[0].parent, hint="Give each category its directory")
    missing = [split for split in SPLITS if split not in paths]
    if missing:
        what = f"has no {name}.{missing[0]}.csv beside the other splits"
        raise SourceError(what, where=ratings[0].parent)
    return {split: paths[split] for split in SPLITS}


def _parse_name(path: Path) -> tuple[str, str | None]:
    """Name of the category, and the split where the file name says one."""
    stem = data_name(path).removesuffix(".csv")
    name, _, word = stem.rpartition(".")
    code = None if word.isdigit() else SPLIT_CODES.get(word.lower())
    return (stem, None) if code is None or not name else (name, SPLITS[code])


def read_splits(
    paths: dict[str, Path], generation: Generation, context: ReadContext
) -> pl.DataFrame:
    """Read the files of :func:`find_split_files` as interactions with a split column."""
    tables = []
    for split, path in paths.items():
        label = pl.lit(SPLITS.index(split), dtype=pl.Int8).alias(SPLIT)
        tables.append(collect(rating_rows(path, generation, context)).with_columns(label))
    return concat_times(tables)
