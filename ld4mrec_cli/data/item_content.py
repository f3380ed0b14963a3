"""Content of the items: titles, texts and features, from the raw source or from an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.dataset import TEXT, natural_order
from ld4mrec_cli.data.encoders import image as images
from ld4mrec_cli.data.encoders import text as encoders
from ld4mrec_cli.data.encoders.base import Encoded, Progress
from ld4mrec_cli.data.encoders.picture import list_images
from ld4mrec_cli.data.features import Modality, align, impute
from ld4mrec_cli.data.item_columns import ITEM_COLUMNS
from ld4mrec_cli.data.readers.base import EveryItem, RawData
from ld4mrec_cli.data.text_vectorizer import TextVectorizer
from ld4mrec_cli.settings.base import TFIDF
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError, nearest

IMAGE = "image"


def read_content(
    source: RawData, item_ids: list[str], options: PrepareConfig, raw: Path
) -> tuple[pl.DataFrame, list[str]]:
    """Content of items as it is read, and the ids of the catalog, in natural order.

    The catalog are the items with interactions, ``item_ids``; with ``prepare.catalog: all`` also
    the other items of the item table.

    Raises:
        SourceError: all items are asked for, and there is no item table.
    """
    if options.catalog == "interacted":
        return source.load_items(set(item_ids)), item_ids
    if not source.item_files:
        raise SourceError("has no item table, which --catalog all is about", where=raw)
    content = source.load_items(EveryItem())
    return content, natural_order({*item_ids, *content[ITEM]})


def load_items(
    source: RawData, content: pl.DataFrame, item_ids: list[str]
) -> tuple[pl.DataFrame, list[str]]:
    """Content of the items, in their order, and a message where some have none.

    Args:
        source: where it is from.
        content: of these items, and maybe of others.
        item_ids: the items.

    Raises:
        SourceError: the source has content, and none of it belongs to these items.
    """
    items = pl.DataFrame({ITEM: item_ids}, schema={ITEM: pl.String})
    joined = items.join(content, on=ITEM, how="left", maintain_order="left")
    if not source.item_files:
        return joined, []
    path = source.item_files[0]
    n_items, n_matches = len(items), int(items[ITEM].is_in(content[ITEM].implode()).sum())
    listed = source.example_item() if content.is_empty() else content[ITEM][0]
    if not n_matches and listed is not None:
        what = f"has none of the {n_items:,} items of the interactions"
        hint = (
            f"An item is '{listed}' here and '{item_ids[0]}' there; write the ids alike, "
            "or name the column with --column items.item=COLUMN"
        )
        raise SourceError(what, where=path, hint=hint)
    if n_matches == n_items:
        return joined, []
    rest = n_items - n_matches
    return joined, [
        f"{path.name} has {n_matches:,} of the {n_items:,} items; without title or text: {rest:,}"
    ]


def encode_items(
    source: RawData,
    items: pl.DataFrame,
    options: PrepareConfig,
    left_out: dict[str, int],
    raw: Path,
    on_encoded: Progress | None,
) -> dict[str, Encoded]:
    """Run the encoders of the options. Raises SourceError beside a ready-made modality."""
    encoded = {}
    if options.text_encoder != TFIDF:
        _check_not_ready_made(source, TEXT)
        encoded[TEXT] = encoders.encode_texts(join_texts(items, options), options, on_encoded)
    if options.image_encoder is not None:
        _check_not_ready_made(source, IMAGE)
        encoded[IMAGE] = images.encode_images(raw, items[ITEM].to_list(), options, on_encoded)
    else:
        n_images = len(list_images(raw))
        if n_images:
            left_out["images (prepare.image_encoder would encode them)"] = n_images
    for modality in encoded.values():
        left_out.update(modality.left_out)
    return encoded


def _check_not_ready_made(source: RawData, name: str) -> None:
    if name in source.features:
        what = f"is a ready-made {name} modality, and prepare.{name}_encoder is to make one"
        raise SourceError(what, where=source.features[name].path, hint="Take one of the two away")


def build_modalities(
    source: RawData,
    items: pl.DataFrame,
    options: PrepareConfig,
    encoded: Mapping[str, Encoded],
) -> tuple[dict[str, Modality], TextVectorizer | None]:
    """Modalities by name, aligned to the items: encoded, ready-made, and TF-IDF of the texts.

    Returns:
        The modalities, and what made the texts' where that is TF-IDF.

    Raises:
        SourceError: a ready-made modality has a feature for none of the items.
    """
    ids = items[ITEM].to_list()
    modalities = {name: output.modality for name, output in encoded.items()}
    for name, raw_features in source.features.items():
        modality = align(raw_features, ids)
        if not modality.present.any():
            raise SourceError("has a feature for none of the items", where=raw_features.path)
        modalities[name] = modality
    texts, vectorizer = join_texts(items, options), None
    if TEXT not in modalities and any(texts):
        vectorizer = TextVectorizer.fit(texts, options.text_dim, options.seed)
        if vectorizer is not None:
            modalities[TEXT] = impute(*vectorizer.transform(texts))
    return dict(sorted(modalities.items())), vectorizer


def check_text_fields(items: pl.DataFrame, options: PrepareConfig, raw: Path) -> None:
    """Raise SourceError for a text field that the user asked for and no item has."""
    if options.text_fields == PrepareConfig.model_fields["text_fields"].default:
        return
    for name in options.text_fields:
        if not has_text(items, name):
            known = [c for c in items.columns if c not in (ITEM, ITEM_COLUMNS, name)]
            raise SourceError(
                f"no item has text in field '{name}'", where=raw, hint=nearest(name, known)
            )


def join_texts(items: pl.DataFrame, options: PrepareConfig) -> list[str]:
    """Text of each item: its fields, joined; empty where it has none."""
    fields = [name for name in options.text_fields if has_text(items, name)]
    if not fields:
        return [""] * len(items)
    joined = items.select(pl.concat_str(fields, separator=" ", ignore_nulls=True)).to_series()
    return joined.fill_null("").to_list()


def has_text(items: pl.DataFrame, column: str) -> bool:
    """Whether an item has text in a column."""
    return column in items.columns and bool((items[column].fill_null("").str.len_bytes() > 0).any())
