"""From a raw source to a dataset directory: filter, split, align, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ld4mrec_cli import __version__
from ld4mrec_cli.data.columns import ITEM, RATING, SPLIT, TIMESTAMP, TITLE, USER, WEIGHT
from ld4mrec_cli.data.dataset import Schema, natural_order
from ld4mrec_cli.data.encoders import image as images
from ld4mrec_cli.data.encoders import text as encoders
from ld4mrec_cli.data.encoders.base import Encoded, Progress, describe_file
from ld4mrec_cli.data.filters import k_core
from ld4mrec_cli.data.folds import SharedParts, can_replace, write_folds
from ld4mrec_cli.data.item_columns import unpack_columns
from ld4mrec_cli.data.item_content import (
    build_modalities,
    check_text_fields,
    encode_items,
    has_text,
    load_items,
    read_content,
)
from ld4mrec_cli.data.labels import (
    ORDER,
    Labeled,
    choose_method,
    label_splits,
    note_left_out,
    split_table,
)
from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.readers.context import OnRead, ReadContext
from ld4mrec_cli.data.readers.table import table_stem
from ld4mrec_cli.data.weights import PAIR, number_events
from ld4mrec_cli.settings.data import FOLD_SPLITS, PrepareConfig
from ld4mrec_cli.utils.errors import DatasetError, SourceError
from ld4mrec_cli.utils.files import atomic_directory, check_output_directory

DEFAULT_K_CORE = 5


@dataclass(frozen=True)
class Prepared:
    """The dataset or folds that `prepare` wrote, and messages for the user."""

    schemas: list[Schema]
    """Of the dataset, or of each fold."""
    format: str
    left_out: dict[str, int]
    """Reason → number of interactions or items that were left out; of folds, of the first."""
    bad_lines: list[str]
    """The first of the malformed lines and unreadable images that were left out."""
    messages: list[str]
    """The cost of the k-core, weights, items without content, columns that are not used."""

    @property
    def schema(self) -> Schema:
        """Of the dataset, or of the first fold."""
        return self.schemas[0]


def default_dataset_path(source: Path) -> Path:
    """``data/NAME``, after the raw directory or table."""
    path = source.resolve()
    return Path("data") / (path.name if path.is_dir() else table_stem(path))


def prepare(
    raw: Path,
    out: Path,
    options: PrepareConfig,
    *,
    overwrite: bool = False,
    on_encoded: Progress | None = None,
    on_read: OnRead | None = None,
) -> Prepared:
    """Read a raw directory, or a table of interactions, and write the dataset directory ``out``.

    With a split of several folds, ``out`` holds a dataset directory for each.

    ``on_encoded`` reports the progress of the encoders, ``on_read`` that of long files.

    Raises:
        SourceError: the raw files are missing, malformed or do not fit together.
        DatasetError: filtering and splitting leave a split empty.
        OutputError: ``out`` exists and may not be replaced.
        ConfigError: an encoder is not there or not safe to load.
    """
    out = out.resolve()
    check_output_directory(out, overwrite=overwrite, is_replaceable=can_replace)
    encoders.check_text_encoder(options)
    images.check_image_encoder(raw, options)
    context = ReadContext(options) if on_read is None else ReadContext(options, on_read)
    source = read_source(raw, options, context)
    left_out: dict[str, int] = {}
    method = choose_method(source, options, raw)
    log, core_cost, events = _filter(source.interactions, method, options, left_out, raw)
    ids = [natural_order(log[column].unique()) for column in (USER, ITEM)]
    labeled = label_splits(_index(log, *ids), method, context, events)
    tables = [one.table for one in labeled]
    if method not in FOLD_SPLITS:  # all folds have the same users and items
        tables, ids = _leave_out_unused(tables[0], *ids)
    users, interacted = ids
    content, item_ids = read_content(source, interacted, options, raw)
    tables = [_move_items(table, interacted, item_ids) for table in tables]
    splits = [split_table(table, method, raw) for table in tables]
    items, coverage = load_items(source, content, item_ids)
    check_text_fields(items, options, raw)
    encoded = encode_items(source, items, options, left_out, raw, on_encoded)
    modalities = build_modalities(source, items, options, encoded)
    left_out = {**_note_reading(source, context), **left_out}
    provenance = _provenance(source, context, _core(options, method), encoded)
    shared = SharedParts(
        out.name,
        users,
        items.select(ITEM, *([TITLE] if has_text(items, TITLE) else [])),
        unpack_columns(items),
        *modalities,
        method,
    )
    with atomic_directory(out, overwrite=overwrite, is_replaceable=can_replace) as temporary:
        schemas = _write(temporary, shared, splits, labeled, provenance, left_out)
    left_out |= labeled[0].left_out
    added = _added(interacted, item_ids)
    messages = [*core_cost, *labeled[0].messages, *added, *coverage, *context.hints]
    unreadable = [message for made in encoded.values() for message in made.unreadable]
    return Prepared(schemas, source.layout, left_out, [*context.bad_lines, *unreadable], messages)


def _note_reading(source: RawData, context: ReadContext) -> dict[str, int]:
    """What the readers left out, which is known once items and features are read, too."""
    left_out = dict(source.notes)
    note_left_out(left_out, "malformed lines", context.n_bad_lines)
    return left_out


def _write(
    directory: Path,
    shared: SharedParts,
    splits: list[dict[str, pl.DataFrame]],
    labeled: list[Labeled],
    provenance: Mapping[str, Any],
    left_out: Mapping[str, int],
) -> list[Schema]:
    """Fill an empty directory with the dataset or the folds; their provenance says what is out."""
    provenances = [{**provenance, "left_out": {**left_out, **one.left_out}} for one in labeled]
    if shared.split_method in FOLD_SPLITS:
        return write_folds(directory, shared, splits, provenances)
    return [shared.write(directory, splits[0], provenances[0])]


def _leave_out_unused(
    table: pl.DataFrame, users: list[str], items: list[str]
) -> tuple[list[pl.DataFrame], list[list[str]]]:
    """The interactions and ids without users and items that have no interaction in a split."""
    table, users = _reindex(table, USER, users)
    table, items = _reindex(table, ITEM, items)
    return [table], [users, items]


def _core(options: PrepareConfig, method: str) -> int:
    if options.k_core is not None:
        return options.k_core
    return 0 if method == "given" else DEFAULT_K_CORE


def _filter(
    interactions: pl.DataFrame,
    method: str,
    options: PrepareConfig,
    left_out: dict[str, int],
    raw: Path,
) -> tuple[pl.DataFrame, list[str], pl.DataFrame | None]:
    """Drop low ratings, repeated pairs (the earliest stays) and users and items below the k-core.

    Returns:
        The interactions, ordered by time (of given labels: by split, then time), a message with
        the cost of the k-core where there is one, and all events where they have weights.
    """
    rated = _drop_low_ratings(interactions, options, left_out, raw)
    rated = _drop_weightless(rated, left_out, raw)
    if method != "given":
        rated = rated.drop(SPLIT, strict=False)
    keys = [column for column in (SPLIT, TIMESTAMP) if column in rated.columns]
    ordered = rated.sort(keys, maintain_order=True) if keys else rated
    events = None
    if WEIGHT in ordered.columns:
        events = number_events(ordered)
        ordered = events.drop(WEIGHT)
    distinct = ordered.unique(subset=(USER, ITEM), keep="first", maintain_order=True)
    note_left_out(left_out, "repeated interactions", len(rated) - len(distinct))
    core = _core(options, method)
    users, items = (
        distinct[column].rank("dense").to_numpy().astype(np.int64) - 1 for column in (USER, ITEM)
    )
    cored = distinct.filter(pl.Series(k_core(users, items, core)))
    note_left_out(left_out, f"interactions outside the {core}-core", len(distinct) - len(cored))
    if cored.is_empty():
        hint = f"Lower --k-core ({_core_source(options, core)}) or prepare.min_rating"
        raise DatasetError("filtering leaves no interaction", where=raw, hint=hint)
    return cored, _core_cost(distinct, cored, options, core), events


def _drop_low_ratings(
    interactions: pl.DataFrame, options: PrepareConfig, left_out: dict[str, int], raw: Path
) -> pl.DataFrame:
    if options.min_rating is None:
        return interactions
    if RATING not in interactions.columns:
        raise SourceError("has no ratings for prepare.min_rating", where=raw)
    rated = interactions.filter(pl.col(RATING) >= options.min_rating)
    reason = f"interactions rated below {options.min_rating:g}"
    note_left_out(left_out, reason, len(interactions) - len(rated))
    return rated


def _drop_weightless(
    interactions: pl.DataFrame, left_out: dict[str, int], raw: Path
) -> pl.DataFrame:
    if WEIGHT not in interactions.columns:
        return interactions
    weighted = interactions.filter(pl.col(WEIGHT) > 0.0)
    if weighted.is_empty():
        raise SourceError("every event has weight 0", where=raw, hint="Raise a weight")
    note_left_out(left_out, "events of weight 0", len(interactions) - len(weighted))
    return weighted


def _core_source(options: PrepareConfig, core: int) -> str:
    """Says whether the k-core is the default."""
    return f"it is {core}" if options.k_core is not None else f"{core} is the default"


def _core_cost(
    before: pl.DataFrame, after: pl.DataFrame, options: PrepareConfig, core: int
) -> list[str]:
    """One line with the users and items that the k-core leaves out; none where there is no core."""
    if core <= 1:
        return []
    name = f"{core}-core" + (
        " (the default; --k-core 0 keeps all)" if options.k_core is None else ""
    )
    counts = {
        column: (before[column].n_unique(), after[column].n_unique()) for column in (USER, ITEM)
    }
    parts = [f"{n - rest:,} of {n:,} {column}s" for column, (n, rest) in counts.items()]
    return [f"{name}: {' and '.join(parts)} are left out"]


def _index(interactions: pl.DataFrame, users: list[str], items: list[str]) -> pl.DataFrame:
    """Replace raw ids by internal indices, keep the order in a column, sort by user and item."""
    user_index = pl.DataFrame({USER: users, "u": np.arange(len(users), dtype=np.uint32)})
    item_index = pl.DataFrame({ITEM: items, "i": np.arange(len(items), dtype=np.uint32)})
    ordered = interactions.with_row_index(ORDER)
    joined = ordered.join(user_index, on=USER).join(item_index, on=ITEM)
    names = (RATING, TIMESTAMP, SPLIT, PAIR)
    rest = [column for column in names if column in interactions.columns]
    columns = [pl.col("u").alias(USER), pl.col("i").alias(ITEM), pl.col(*rest, ORDER)]
    return joined.select(columns).sort(USER, ITEM)


def _reindex(table: pl.DataFrame, column: str, ids: list[str]) -> tuple[pl.DataFrame, list[str]]:
    """Index the ids that still occur in a column of indices anew, without gaps."""
    codes = table[column].to_numpy()
    used = np.unique(codes)
    indices = pl.Series(column, np.searchsorted(used, codes), dtype=pl.UInt32)
    return table.with_columns(indices), [ids[code] for code in used]


def _move_items(table: pl.DataFrame, items: list[str], catalog: list[str]) -> pl.DataFrame:
    """Index the items of a table, which are indices of ``items``, in a catalog that holds them."""
    if items == catalog:
        return table
    place = {item: index for index, item in enumerate(catalog)}
    places = np.array([place[item] for item in items])
    moved = pl.Series(ITEM, places[table[ITEM].to_numpy()], dtype=pl.UInt32)
    return table.with_columns(moved)


def _added(items: list[str], catalog: list[str]) -> list[str]:
    """One line with the items that have no interaction; none where all have."""
    n_added = len(catalog) - len(items)
    if not n_added:
        return []
    return [f"{n_added:,} of {len(catalog):,} items have no interaction (--catalog all)"]


def _provenance(
    source: RawData,
    context: ReadContext,
    core: int,
    encoded: Mapping[str, Encoded],
) -> dict[str, Any]:
    options = context.options
    unused = set() if options.is_weighted else {"event_weights", "combine_weights"}
    provenance = {
        "ld4mrec": __version__,
        "format": source.layout,
        "files": [describe_file(path, path.name) for path in sorted(source.files)],
        "options": options.model_dump(mode="json", exclude=unused) | {"k_core": core},
    }
    if context.events:
        provenance["events"] = context.events
    if encoded:
        provenance["encoders"] = {name: made.record for name, made in encoded.items()}
    return provenance
