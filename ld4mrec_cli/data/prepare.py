"""From a raw source to a dataset directory: filter, split, align, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ld4mrec_cli import __version__
from ld4mrec_cli.data import split_methods
from ld4mrec_cli.data.columns import ITEM, RATING, SPLIT, TIMESTAMP, TITLE, USER
from ld4mrec_cli.data.dataset import Schema, is_dataset, natural_order, write_dataset
from ld4mrec_cli.data.encoders import image as images
from ld4mrec_cli.data.encoders import text as encoders
from ld4mrec_cli.data.encoders.base import Encoded, Progress, describe_file
from ld4mrec_cli.data.features import Modality, align, text_features
from ld4mrec_cli.data.filters import k_core
from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.readers.context import OnRead, ReadContext
from ld4mrec_cli.data.splits import LEFT_OUT, SPLITS
from ld4mrec_cli.settings.base import TFIDF
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import DatasetError, SourceError, nearest
from ld4mrec_cli.utils.files import atomic_directory, check_output_directory

TEXT = "text"
IMAGE = "image"
DEFAULT_K_CORE = 5


@dataclass(frozen=True)
class Prepared:
    """What `prepare` has to tell."""

    schema: Schema
    format: str
    left_out: dict[str, int]
    """Why interactions or items were left out, and how many."""
    bad_lines: list[str]
    """The first of the malformed lines that were left out."""


def prepare(
    raw: Path,
    out: Path,
    options: PrepareConfig,
    *,
    overwrite: bool = False,
    on_encoded: Progress | None = None,
    on_read: OnRead | None = None,
) -> Prepared:
    """Read a raw directory and write the dataset directory ``out``.

    ``on_encoded`` watches the encoders, ``on_read`` the reading of long files.

    Raises:
        SourceError: the raw files are missing, malformed or do not fit together.
        DatasetError: filtering and splitting leave a split empty.
        OutputError: ``out`` exists and may not be replaced.
        ConfigError: an encoder is not there or not safe to load.
    """
    out = out.resolve()
    check_output_directory(out, overwrite=overwrite, is_replaceable=is_dataset)
    encoders.check_text_encoder(options)
    images.check_image_encoder(raw, options)
    context = ReadContext(options) if on_read is None else ReadContext(options, on_read)
    source = read_source(raw, options, context)
    left_out: dict[str, int] = {}
    method = _split_method(source, options, raw)
    core = _core(options, method)
    interactions = _filtered(source.interactions, method, options, core, left_out, raw)
    all_users, all_items = (natural_order(interactions[column].unique()) for column in (USER, ITEM))
    table = _labeled(_indexed(interactions, all_users, all_items), method, options, left_out)
    table, users = _reindex(table, USER, all_users)
    table, item_ids = _reindex(table, ITEM, all_items)
    tables = _split(table, raw)
    items = pl.DataFrame({ITEM: item_ids}, schema={ITEM: pl.String}).join(
        source.load_items(set(item_ids)), on=ITEM, how="left", maintain_order="left"
    )
    _check_text_fields(items, options, raw)
    encoded = _encoded(source, items, options, left_out, raw, on_encoded)
    modalities = _modalities(source, items, options, encoded)
    bad_lines = {"malformed lines": context.n_bad_lines} if context.n_bad_lines else {}
    left_out = {
        **source.notes,
        **bad_lines,
        **left_out,
    }  # item content is read last, but told of first
    with atomic_directory(out, overwrite=overwrite, is_replaceable=is_dataset) as temporary:
        schema = write_dataset(
            temporary,
            name=out.name,
            users=users,
            items=items.select(ITEM, *([TITLE] if _has_text(items, TITLE) else [])),
            splits=tables,
            modalities=modalities,
            split_method=method,
            provenance=_provenance(source, options, core, left_out, encoded),
        )
    return Prepared(schema, source.layout, left_out, context.bad_lines)


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


def _filtered(
    interactions: pl.DataFrame,
    method: str,
    options: PrepareConfig,
    core: int,
    left_out: dict[str, int],
    raw: Path,
) -> pl.DataFrame:
    """Drop low ratings, repeated pairs (the earliest is kept) and what the k-core leaves."""
    if options.min_rating is not None:
        if RATING not in interactions.columns:
            raise SourceError("has no ratings for prepare.min_rating", where=raw)
        kept = interactions.filter(pl.col(RATING) >= options.min_rating)
        _note(
            left_out,
            f"interactions rated below {options.min_rating:g}",
            len(interactions) - len(kept),
        )
        interactions = kept
    if method != "given":
        interactions = interactions.drop(SPLIT, strict=False)
    order = [column for column in (SPLIT, TIMESTAMP) if column in interactions.columns]
    ordered = interactions.sort(order, maintain_order=True) if order else interactions
    kept = ordered.unique(subset=(USER, ITEM), keep="first", maintain_order=True)
    _note(left_out, "repeated interactions", len(interactions) - len(kept))
    codes = [kept[column].rank("dense").to_numpy().astype(np.int64) - 1 for column in (USER, ITEM)]
    cored = kept.filter(pl.Series(k_core(codes[0], codes[1], core)))
    _note(left_out, f"interactions outside the {core}-core", len(kept) - len(cored))
    if cored.is_empty():
        hint = "Lower --k-core or prepare.min_rating"
        raise DatasetError("filtering leaves no interaction", where=raw, hint=hint)
    return cored


def _indexed(interactions: pl.DataFrame, users: list[str], items: list[str]) -> pl.DataFrame:
    """Replace raw ids by internal indices and sort by user and item."""
    user_index = pl.DataFrame({USER: users, "u": np.arange(len(users), dtype=np.uint32)})
    item_index = pl.DataFrame({ITEM: items, "i": np.arange(len(items), dtype=np.uint32)})
    joined = interactions.join(user_index, on=USER).join(item_index, on=ITEM)
    rest = [column for column in (RATING, TIMESTAMP, SPLIT) if column in interactions.columns]
    return joined.select(pl.col("u").alias(USER), pl.col("i").alias(ITEM), *rest).sort(USER, ITEM)


def _labeled(
    table: pl.DataFrame, method: str, options: PrepareConfig, left_out: dict[str, int]
) -> pl.DataFrame:
    """Label each interaction with its split, and drop those that go into none."""
    labels = _labels(table, method, options)
    _note(
        left_out,
        "held-out interactions of users without training data",
        int((labels == LEFT_OUT).sum()),
    )
    return table.with_columns(pl.Series(SPLIT, labels, dtype=pl.Int8)).filter(
        pl.col(SPLIT) != LEFT_OUT
    )


def _reindex(table: pl.DataFrame, column: str, ids: list[str]) -> tuple[pl.DataFrame, list[str]]:
    """Keep the ids that still occur in a column of indices, and index them anew."""
    codes = table[column].to_numpy()
    kept = np.unique(codes)
    return table.with_columns(pl.Series(column, np.searchsorted(kept, codes), dtype=pl.UInt32)), [
        ids[i] for i in kept
    ]


def _split(table: pl.DataFrame, raw: Path) -> dict[str, pl.DataFrame]:
    parts: dict[str, pl.DataFrame] = {
        split: table.filter(pl.col(SPLIT) == label).drop(SPLIT)
        for label, split in enumerate(SPLITS)
    }
    for split, part in parts.items():
        if part.is_empty():
            hint = "Lower --k-core, or choose another --split or other shares"
            raise DatasetError(f"the {split} split is empty", where=raw, hint=hint)
    return parts


def _labels(table: pl.DataFrame, method: str, options: PrepareConfig) -> np.ndarray:
    users = table[USER].to_numpy().astype(np.int64)
    shares = options.valid_ratio, options.test_ratio
    if method == "given":
        return table[SPLIT].to_numpy()
    rng = np.random.default_rng(options.seed)
    if method == "random":
        return split_methods.random_split(users, *shares, rng)
    if method == "leave-one-out":
        order = (
            table[TIMESTAMP].to_numpy()
            if TIMESTAMP in table.columns
            else rng.permutation(len(users))
        )
        return split_methods.leave_one_out_split(users, order)
    times = table[TIMESTAMP].to_numpy()
    split = (
        split_methods.temporal_split if method == "temporal" else split_methods.global_time_split
    )
    return split(users, times, *shares)


def _encoded(
    source: RawData,
    items: pl.DataFrame,
    options: PrepareConfig,
    left_out: dict[str, int],
    raw: Path,
    on_encoded: Progress | None,
) -> dict[str, Encoded]:
    """Run the encoders that the options ask for; they never silently give way to ready-made features."""
    encoded = {}
    if options.text_encoder != TFIDF:
        _check_not_ready_made(source, TEXT)
        encoded[TEXT] = encoders.encode_texts(_texts(items, options), options, on_encoded)
    if options.image_encoder is not None:
        _check_not_ready_made(source, IMAGE)
        encoded[IMAGE] = images.encode_images(raw, items[ITEM].to_list(), options, on_encoded)
    else:
        _note(
            left_out,
            "images (prepare.image_encoder would encode them)",
            len(images.list_images(raw)),
        )
    for made in encoded.values():
        left_out.update(made.left_out)
    return encoded


def _check_not_ready_made(source: RawData, name: str) -> None:
    if name in source.features:
        what = f"is a ready-made {name} modality, and prepare.{name}_encoder is to make one"
        raise SourceError(what, where=source.features[name].path, hint="Take one of the two away")


def _modalities(
    source: RawData,
    items: pl.DataFrame,
    options: PrepareConfig,
    encoded: Mapping[str, Encoded],
) -> dict[str, Modality]:
    ids = items[ITEM].to_list()
    modalities = {name: made.modality for name, made in encoded.items()}
    for name, raw_features in source.features.items():
        modality = align(raw_features, ids)
        if not modality.present.any():
            raise SourceError("has a feature for none of the items", where=raw_features.path)
        modalities[name] = modality
    texts = _texts(items, options)
    if TEXT not in modalities and any(texts):
        text = text_features(texts, options.text_dim, options.seed)
        if text is not None:
            modalities[TEXT] = text
    return dict(sorted(modalities.items()))


def _check_text_fields(items: pl.DataFrame, options: PrepareConfig, raw: Path) -> None:
    """Raise SourceError for a text field that the user asked for and no item has."""
    if options.text_fields == PrepareConfig.model_fields["text_fields"].default:
        return
    for name in options.text_fields:
        if not _has_text(items, name):
            known = [column for column in items.columns if column not in (ITEM, name)]
            raise SourceError(
                f"no item has text in field '{name}'", where=raw, hint=nearest(name, known)
            )


def _texts(items: pl.DataFrame, options: PrepareConfig) -> list[str]:
    """Text of each item: its fields, joined; empty where it has none."""
    fields = [name for name in options.text_fields if _has_text(items, name)]
    if not fields:
        return [""] * len(items)
    joined = items.select(pl.concat_str(fields, separator=" ", ignore_nulls=True)).to_series()
    return joined.fill_null("").to_list()


def _has_text(items: pl.DataFrame, column: str) -> bool:
    return column in items.columns and bool((items[column].fill_null("").str.len_bytes() > 0).any())


def _provenance(
    source: RawData,
    options: PrepareConfig,
    core: int,
    left_out: dict[str, int],
    encoded: Mapping[str, Encoded],
) -> dict[str, Any]:
    provenance = {
        "ld4mrec": __version__,
        "format": source.layout,
        "files": [describe_file(path, path.name) for path in sorted(source.files)],
        "options": options.model_dump(mode="json") | {"k_core": core},
        "left_out": left_out,
    }
    if encoded:
        provenance["encoders"] = {name: made.record for name, made in encoded.items()}
    return provenance


def _note(left_out: dict[str, int], why: str, count: int) -> None:
    if count:
        left_out[why] = count
