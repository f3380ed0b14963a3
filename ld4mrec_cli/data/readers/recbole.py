"""RecBole atomic files: ``NAME.inter``, ``NAME.item``, tab-separated, with typed column names.

A ``float_seq`` column of the items becomes a modality of that name. The benchmark files
``NAME.train.inter``, ``NAME.valid.inter`` and ``NAME.test.inter`` are a given split. User features
(``NAME.user``) are not used.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import EVENT, ITEM, RATING, SPLIT, TIMESTAMP, USER, WEIGHT
from ld4mrec_cli.data.readers.arrays import check_name, feature_files, is_keyed, read_keyed
from ld4mrec_cli.data.readers.base import RawData, RawFeatures
from ld4mrec_cli.data.readers.columns import find_columns, interactions_from, item_mapping
from ld4mrec_cli.data.readers.content import GZIP_ERRORS, open_content
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import read_header, read_table, report_bad_lines
from ld4mrec_cli.data.readers.table import item_file, items_from, read_items
from ld4mrec_cli.data.readers.times import concat_times
from ld4mrec_cli.data.splits import SPLIT_CODES, SPLITS
from ld4mrec_cli.settings.data import columns_of
from ld4mrec_cli.utils.errors import SourceError, nearest

TYPES = ("token", "token_seq", "float", "float_seq")
UNUSED = (".user", ".kg", ".link", ".net")
"""Atomic files that are not read, which the notes then say."""
FIELD_NAMES = {
    "brand": ("brand", "itembrand"),
    "categories": ("categories", "category", "class", "genre", "genres", "tags"),
    "description": ("description", "descriptions", "desc"),
}
"""Our text field → what atomic files call it, in lower case without punctuation."""


def is_atomic(path: Path) -> bool:
    """Whether an ``.inter`` file has a typed header."""
    try:
        with open_content(path) as (stream, _):
            return b":token" in stream.readline(1 << 16)
    except (OSError, SourceError, *GZIP_ERRORS):
        return False  # reading it says why


def fits(raw: Path) -> bool:
    """Whether a directory has an ``*.inter`` file with typed headers."""
    return any(is_atomic(path) for path in raw.glob("*.inter"))


def read(raw: Path, context: ReadContext) -> RawData:
    """Read a directory of RecBole atomic files.

    Raises:
        SourceError: no or several data sets, a header without known types, a malformed line, a
            value that is not of its type, vectors of different lengths.
    """
    name, parts = _inter_files(raw)
    interactions = _read_interactions(parts, context)
    files = list(parts.values())
    listed = _item_file(raw, name)
    items, features, notes = _read_content(listed, interactions, context)
    files += [listed] if listed else []
    for modality, path in feature_files(raw).items():
        if modality in features:
            raise SourceError(
                f"modality '{modality}' is a column of {listed and listed.name} too", where=path
            )
        if not is_keyed(path):
            hint = (
                "Give a .npz or Parquet file keyed by item, "
                "or say --format mmrec where row r is item r"
            )
            raise SourceError("its rows cannot be told apart here", where=path, hint=hint)
        features[modality] = read_keyed(path, context)
        files.append(path)
    notes |= {
        f"unused file ({path.name})": 1 for path in sorted(raw.iterdir()) if path.suffix in UNUSED
    }
    return RawData(
        "recbole",
        interactions,
        lambda _: items,
        features,
        files,
        notes,
        item_files=[] if listed is None else [listed],
    )


def _inter_files(raw: Path) -> tuple[str, dict[str, Path]]:
    """Name of the data set and its interaction files by split; one alone has an empty split."""
    names: dict[str, dict[str, Path]] = {}
    for path in sorted(raw.glob("*.inter")):
        name, _, split = path.stem.rpartition(".")
        label = SPLIT_CODES.get(split.lower()) if name and not split.isdigit() else None
        known = names.setdefault(path.stem if label is None else name, {})
        if known.setdefault("" if label is None else SPLITS[label], path) != path:
            raise SourceError(
                f"is the {split} split, and {known[SPLITS[label or 0]].name} too", where=path
            )
    if len(names) != 1:
        hint = "Give each data set its directory"
        raise SourceError(
            f"holds the *.inter files of: {', '.join(names) or 'nothing'}", where=raw, hint=hint
        )
    name, parts = next(iter(names.items()))
    if "" in parts and len(parts) > 1:
        hint = "Take the one away, or the others"
        raise SourceError(f"holds {parts[''].name} and files of its splits", where=raw, hint=hint)
    missing = [split for split in SPLITS if split not in parts and "" not in parts]
    if missing:
        raise SourceError(f"has no {name}.{missing[0]}.inter beside the other splits", where=raw)
    return name, {split: parts[split] for split in ("", *SPLITS) if split in parts}


def _read_interactions(parts: dict[str, Path], context: ReadContext) -> pl.DataFrame:
    tables = []
    for split, path in parts.items():
        frame, types = _read_typed(path, context)
        columns = find_columns(
            frame,
            path,
            columns_of("interactions", context.options.columns),
            (USER, ITEM),
            (RATING, TIMESTAMP, EVENT, WEIGHT),
        )
        for ours, column in columns.items():
            is_wrong = (
                types[column] != "token" if ours in (USER, ITEM) else types[column].endswith("_seq")
            )
            if is_wrong:
                needed = "token" if ours in (USER, ITEM, EVENT) else "float"
                raise SourceError(
                    f"the {ours} '{column}' is {types[column]}, not {needed}", where=path, line=1
                )
        table = interactions_from(frame, path, context)
        if split:  # the file says the split, whatever a column may
            label = pl.lit(SPLITS.index(split), dtype=pl.Int8).alias(SPLIT)
            table = table.drop(SPLIT, strict=False).with_columns(label)
        tables.append(table)
    shared = [
        column for column in tables[0].columns if all(column in table.columns for table in tables)
    ]
    return concat_times([table.select(shared) for table in tables])


def _read_typed(path: Path, context: ReadContext) -> tuple[pl.DataFrame, dict[str, str]]:
    """Read an atomic file: the table by plain column names, and the type of each column."""
    types: dict[str, str] = {}
    for column in read_header(path) if path.is_file() else ():
        name, _, kind = column.strip().rpartition(":")
        if not name:
            hint = "An atomic file has headers such as user_id:token and rating:float"
            raise SourceError(f"column '{column}' has no type", where=path, line=1, hint=hint)
        if kind not in TYPES:
            what = f"column '{name}' has the unknown type '{kind}'"
            raise SourceError(what, where=path, line=1, hint=nearest(kind, TYPES))
        if name in types:
            raise SourceError(
                f"names column '{name}' twice", where=path, line=1, hint="Rename one of the two"
            )
        types[name] = kind
    frame = read_table(path, context)
    return frame.rename(dict(zip(frame.columns, types, strict=True))), types


def _item_file(raw: Path, name: str) -> Path | None:
    """The file of the items: ``NAME.item``, else the only ``*.item``, else an items table."""
    paths = sorted(raw.glob("*.item"))
    paths = [path for path in paths if path.stem == name] or paths
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise SourceError(f"holds several item files: {names}", where=raw)
    return paths[0] if paths else item_file(raw)


Items = tuple[pl.DataFrame, dict[str, RawFeatures], dict[str, int]]


def _read_content(path: Path | None, interactions: pl.DataFrame, context: ReadContext) -> Items:
    if path is None:
        return pl.DataFrame({ITEM: interactions[ITEM].unique(maintain_order=True)}), {}, {}
    if path.suffix == ".item":
        return _read_items(path, context)
    items, notes = read_items(path, context)
    return items, {}, notes


def _read_items(path: Path, context: ReadContext) -> Items:
    """Texts and vectors of the items; a line with a bad vector is malformed as a whole."""
    frame, types = _read_typed(path, context)
    column = find_columns(
        frame, path, item_mapping(frame, context.options.columns), required=(ITEM,)
    )[ITEM]
    ids = frame[column].str.strip_chars()
    bad_lines = dict.fromkeys(
        (ids.fill_null("") == "").arg_true(), f"no value in column '{column}'"
    )
    vectors = {}
    for name in (name for name, kind in types.items() if kind == "float_seq"):
        check_name(name, path)
        vectors[name] = _vectors(frame[name])
        bad_lines = _vector_faults(name, frame[name], vectors[name]) | bad_lines
    if bad_lines:
        report_bad_lines(path, bad_lines, context)
    whole = pl.Series(row not in bad_lines for row in range(len(frame))).cast(pl.Boolean)
    items, notes = items_from(frame.filter(whole), path, context, FIELD_NAMES)
    features = {}
    for name, numbers in vectors.items():
        table = pl.DataFrame({ITEM: ids, "numbers": numbers}).filter(whole)
        table = table.unique(subset=ITEM, keep="first", maintain_order=True).filter(
            pl.col("numbers").list.len() > 0
        )
        if len(table):
            values = table["numbers"].explode().to_numpy().reshape(len(table), -1)
            features[name] = RawFeatures(path, table[ITEM].to_list(), values)
    return items, features, notes


def _vectors(text: pl.Series) -> pl.Series:
    """Lists of numbers, null where one is not a number; no text is an empty list."""
    return (
        text.fill_null("")
        .str.extract_all(r"\S+")
        .list.eval(pl.element().cast(pl.Float32, strict=False))
    )


def _vector_faults(name: str, text: pl.Series, numbers: pl.Series) -> dict[int, str]:
    """Row → fault of its vector. The right length is that of most lines; no vector is no fault."""
    lengths = numbers.list.len()
    usual = Counter(lengths.filter(lengths > 0).to_list()).most_common(1)
    odd = (lengths > 0) & (lengths != (usual[0][0] if usual else 0))
    bad_lines = {
        row: f"{lengths[row]} numbers in column '{name}', other lines have {usual[0][0]}"
        for row in odd.arg_true()
    }
    finite = numbers.list.eval(pl.element().is_finite().fill_null(False))
    for row in (~finite.list.all()).arg_true():
        bad = next(
            part for part, good in zip(text[row].split(), finite[row], strict=True) if not good
        )
        bad_lines[row] = f"'{bad}' in column '{name}' is not a finite number"
    return bad_lines
