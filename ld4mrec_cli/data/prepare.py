"""From a raw source to a dataset directory: filter, split, align, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from ld4mrec_cli import __version__
from ld4mrec_cli.data import split_methods
from ld4mrec_cli.data.columns import ITEM, RATING, SPLIT, TIMESTAMP, TITLE, USER, WEIGHT
from ld4mrec_cli.data.dataset import Schema, is_replaceable, natural_order, write_dataset
from ld4mrec_cli.data.encoders import image as images
from ld4mrec_cli.data.encoders import text as encoders
from ld4mrec_cli.data.encoders.base import Encoded, Progress, describe_file
from ld4mrec_cli.data.filters import k_core
from ld4mrec_cli.data.item_columns import unpack_columns
from ld4mrec_cli.data.item_content import (
    build_modalities,
    check_text_fields,
    encode_items,
    has_text,
    load_items,
    read_content,
)
from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.readers.context import OnRead, ReadContext
from ld4mrec_cli.data.readers.table import table_stem
from ld4mrec_cli.data.splits import LEFT_OUT, SPLITS, Split
from ld4mrec_cli.data.weights import PAIR, combine_weights, describe_weights, number_events
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import DatasetError, SourceError
from ld4mrec_cli.utils.files import atomic_directory, check_output_directory

DEFAULT_K_CORE = 5
BY_TIME: dict[str, Literal["user", "all"]] = {
    "temporal": "user",
    "leave-one-out": "user",
    "global-time": "all",
}
"""Splits by time: whose held-out interactions end the training."""
_ORDER = "order"
"""Rank of an interaction in time; equal times follow the order of the files."""


@dataclass(frozen=True)
class Prepared:
    """The dataset that `prepare` wrote, and messages for the user."""

    schema: Schema
    format: str
    left_out: dict[str, int]
    """Reason → number of interactions or items that were left out."""
    bad_lines: list[str]
    """The first of the malformed lines and unreadable images that were left out."""
    messages: list[str]
    """The cost of the k-core, weights, items without content, columns that are not used."""


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

    ``on_encoded`` reports the progress of the encoders, ``on_read`` that of long files.

    Raises:
        SourceError: the raw files are missing, malformed or do not fit together.
        DatasetError: filtering and splitting leave a split empty.
        OutputError: ``out`` exists and may not be replaced.
        ConfigError: an encoder is not there or not safe to load.
    """
    out = out.resolve()
    check_output_directory(out, overwrite=overwrite, is_replaceable=is_replaceable)
    encoders.check_text_encoder(options)
    images.check_image_encoder(raw, options)
    context = ReadContext(options) if on_read is None else ReadContext(options, on_read)
    source = read_source(raw, options, context)
    left_out: dict[str, int] = {}
    method = _split_method(source, options, raw)
    log, core_cost, events = _filter(source.interactions, method, options, left_out, raw)
    all_users, all_items = (natural_order(log[column].unique()) for column in (USER, ITEM))
    table = _label_splits(_index(log, all_users, all_items), method, options, left_out, events)
    table, weights = _settle_weights(table, context)
    table, users = _reindex(table, USER, all_users)
    table, interacted = _reindex(table, ITEM, all_items)
    content, item_ids = read_content(source, interacted, options, raw)
    table = _move_items(table, interacted, item_ids)
    tables = _split(table, method, raw)
    items, coverage = load_items(source, content, item_ids)
    check_text_fields(items, options, raw)
    encoded = encode_items(source, items, options, left_out, raw, on_encoded)
    modalities, vectorizer = build_modalities(source, items, options, encoded)
    bad_lines = {"malformed lines": context.n_bad_lines} if context.n_bad_lines else {}
    left_out = {**source.notes, **bad_lines, **left_out}  # notes are complete after the items
    with atomic_directory(out, overwrite=overwrite, is_replaceable=is_replaceable) as temporary:
        schema = write_dataset(
            temporary,
            name=out.name,
            users=users,
            items=items.select(ITEM, *([TITLE] if has_text(items, TITLE) else [])),
            item_columns=unpack_columns(items),
            splits=tables,
            modalities=modalities,
            split_method=method,
            text_vectorizer=vectorizer,
            provenance=_provenance(source, context, _core(options, method), left_out, encoded),
        )
    added = _added(interacted, item_ids)
    messages = [*core_cost, *weights, *added, *coverage, *context.hints]
    unreadable = [message for made in encoded.values() for message in made.unreadable]
    bad = [*context.bad_lines, *unreadable]
    return Prepared(schema, source.layout, left_out, bad, messages)


def _split_method(source: RawData, options: PrepareConfig, raw: Path) -> str:
    has = source.interactions.columns
    method = options.split
    if method == "auto":
        return "given" if SPLIT in has else "random"
    if method == "given" and SPLIT not in has:
        raise SourceError("has no split labels", where=raw, hint="Choose another --split")
    if method in ("temporal", "global-time") and TIMESTAMP not in has:
        raise SourceError(
            f"has no timestamps for the {method} split", where=raw, hint="Choose another --split"
        )
    return method


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
    _note(left_out, "repeated interactions", len(rated) - len(distinct))
    core = _core(options, method)
    users, items = (
        distinct[column].rank("dense").to_numpy().astype(np.int64) - 1 for column in (USER, ITEM)
    )
    cored = distinct.filter(pl.Series(k_core(users, items, core)))
    _note(left_out, f"interactions outside the {core}-core", len(distinct) - len(cored))
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
    _note(left_out, reason, len(interactions) - len(rated))
    return rated


def _drop_weightless(
    interactions: pl.DataFrame, left_out: dict[str, int], raw: Path
) -> pl.DataFrame:
    if WEIGHT not in interactions.columns:
        return interactions
    weighted = interactions.filter(pl.col(WEIGHT) > 0.0)
    if weighted.is_empty():
        raise SourceError("every event has weight 0", where=raw, hint="Raise a weight")
    _note(left_out, "events of weight 0", len(interactions) - len(weighted))
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
    ordered = interactions.with_row_index(_ORDER)
    joined = ordered.join(user_index, on=USER).join(item_index, on=ITEM)
    names = (RATING, TIMESTAMP, SPLIT, PAIR)
    rest = [column for column in names if column in interactions.columns]
    columns = [pl.col("u").alias(USER), pl.col("i").alias(ITEM), pl.col(*rest, _ORDER)]
    return joined.select(columns).sort(USER, ITEM)


def _label_splits(
    table: pl.DataFrame,
    method: str,
    options: PrepareConfig,
    left_out: dict[str, int],
    events: pl.DataFrame | None,
) -> pl.DataFrame:
    """Label each interaction with its split, drop those that go into none, and add the weights."""
    labels = _labels(table, method, options)
    if events is not None:
        by_time = BY_TIME.get(method) if TIMESTAMP in table.columns else None
        weights = combine_weights(table, labels, events, options.combine_weights, by_time)
        table = table.drop(PAIR).with_columns(weights)
    reason = "held-out interactions of users without training data"
    _note(left_out, reason, int((labels == LEFT_OUT).sum()))
    labeled = table.drop(_ORDER).with_columns(pl.Series(SPLIT, labels, dtype=pl.Int8))
    return labeled.filter(pl.col(SPLIT) != LEFT_OUT)


def _settle_weights(table: pl.DataFrame, context: ReadContext) -> tuple[pl.DataFrame, list[str]]:
    """The interactions, without weights where all are 1, and what to say of the weights."""
    if WEIGHT not in table.columns:
        return table, []
    weights, options = table[WEIGHT].to_numpy(), context.options
    messages = describe_weights(
        weights, context.events, options.event_weights, options.combine_weights
    )
    return (table.drop(WEIGHT) if (weights == 1.0).all() else table), messages


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


def _split(table: pl.DataFrame, method: str, raw: Path) -> dict[str, pl.DataFrame]:
    """Table by split. Raises DatasetError where one is empty that should not be."""
    parts: dict[str, pl.DataFrame] = {
        split: table.filter(pl.col(SPLIT) == label).drop(SPLIT)
        for label, split in enumerate(SPLITS)
    }
    for split, part in parts.items():
        if part.is_empty() and method != "none":
            hint = "Lower --k-core, or choose another --split or other shares"
            raise DatasetError(f"the {split} split is empty", where=raw, hint=hint)
    return parts


def _labels(table: pl.DataFrame, method: str, options: PrepareConfig) -> np.ndarray:
    """Split of each interaction, ``(n,)``; within a user, equal times follow the files' order."""
    users = table[USER].to_numpy().astype(np.int64)
    shares = options.valid_ratio, options.test_ratio
    if method == "given":
        return table[SPLIT].to_numpy()
    if method == "none":
        return np.full(len(table), SPLITS.index(Split.TRAIN), dtype=np.int8)
    rng = np.random.default_rng(options.seed)
    if method == "random":
        return split_methods.random_split(users, *shares, rng)
    order = table[_ORDER].to_numpy().astype(np.int64)
    if method == "leave-one-out":
        has_times = TIMESTAMP in table.columns
        return split_methods.leave_one_out_split(
            users, order if has_times else rng.permutation(len(users))
        )
    if method == "temporal":
        return split_methods.temporal_split(users, order, *shares)
    return split_methods.global_time_split(users, table[TIMESTAMP].to_numpy(), *shares)


def _provenance(
    source: RawData,
    context: ReadContext,
    core: int,
    left_out: dict[str, int],
    encoded: Mapping[str, Encoded],
) -> dict[str, Any]:
    options = context.options
    unused = set() if options.is_weighted else {"event_weights", "combine_weights"}
    provenance = {
        "ld4mrec": __version__,
        "format": source.layout,
        "files": [describe_file(path, path.name) for path in sorted(source.files)],
        "options": options.model_dump(mode="json", exclude=unused) | {"k_core": core},
        "left_out": left_out,
    }
    if context.events:
        provenance["events"] = context.events
    if encoded:
        provenance["encoders"] = {name: made.record for name, made in encoded.items()}
    return provenance


def _note(left_out: dict[str, int], why: str, count: int) -> None:
    if count:
        left_out[why] = count
