"""Items that arrive after a dataset was prepared: their table, and features made as `prepare` did.

The options, the text vectorizer and the encoders are those of the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import ValidationError

from ld4mrec_cli.data.columns import ITEM, TITLE
from ld4mrec_cli.data.dataset import TEXT, Dataset
from ld4mrec_cli.data.encoders import image as images
from ld4mrec_cli.data.encoders import text as encoders
from ld4mrec_cli.data.encoders.base import Encoded
from ld4mrec_cli.data.encoders.picture import IMAGE_FOLDER, list_images
from ld4mrec_cli.data.features import Modality
from ld4mrec_cli.data.item_columns import fit_columns
from ld4mrec_cli.data.item_content import IMAGE, has_text, join_texts
from ld4mrec_cli.data.readers.arrays import KEYED, is_keyed, read_keyed, read_rows
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.table import TABLES, is_table, read_items
from ld4mrec_cli.settings.base import TFIDF
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import DatasetError, SourceError, nearest


@dataclass(frozen=True)
class NewItems:
    """New items in the order of their table."""

    items: pl.DataFrame
    """``item`` and, where an item has one, ``title``."""
    columns: pl.DataFrame
    """The columns of the dataset's items; none where it has none."""
    modalities: dict[str, Modality]
    """Features of the dataset's modalities; items without one are not ``present``."""
    notes: list[str] = field(default_factory=list)
    """What the user should know: repeated rows, modalities without a feature."""


def read_new_items(
    dataset: Dataset,
    table: Path,
    features: Mapping[str, Path] | None = None,
    image_folder: Path | None = None,
) -> NewItems:
    """Read new items, and make their features as `prepare` made those of the dataset.

    Args:
        dataset: what the features must fit to.
        table: of the items: ``.csv``, ``.tsv`` (or ``.gz`` of them) or ``.parquet``.
        features: ready-made features by modality: keyed by item, or ``.npy`` whose rows follow the
            table.
        image_folder: the folder ``images/``, or the directory that holds it.

    Raises:
        SourceError: a file is missing or malformed, has no item, or does not fit the dataset.
        ConfigError: the encoder of the dataset is not there.
        DatasetError: the dataset does not say how it was made.
    """
    dataset.modality_names(tuple(features or ()))
    options = _options_of(dataset)
    if TEXT in (features or {}):  # then the table needs no text
        default = PrepareConfig.model_fields["text_fields"].default
        options = options.model_copy(update={"text_fields": default})
    context = ReadContext(options)
    if not is_table(table):
        what = "is not a table" if table.exists() else "no such file"
        raise SourceError(what, where=table, hint=f"Tables end in {', '.join(TABLES)}")
    items, notes = read_items(table, context)
    if items.is_empty():
        raise SourceError("has no item", where=table)
    notes |= {"malformed lines": context.n_bad_lines} if context.n_bad_lines else {}
    modalities = _read_features(dataset, items, table, features or {}, context)
    modalities |= _make_features(dataset, items, modalities, image_folder, context.options)
    told = [f"left out: {count:,} {reason}" for reason, count in notes.items()]
    for name in dataset.modality_names():
        if name not in modalities:
            told.append(f"no item has a feature of '{name}': {_how_to_give(dataset, name)}")
            modalities[name] = _no_features(len(items), dataset.schema.modalities[name].dim)
    titled = [TITLE] if has_text(items, TITLE) else []
    columns = fit_columns(items, dataset.item_columns)
    return NewItems(items.select(ITEM, *titled), columns, modalities, told)


def _options_of(dataset: Dataset) -> PrepareConfig:
    """The options that a dataset was prepared with."""
    try:
        options = dict(dataset.schema.provenance["options"])
        return PrepareConfig.model_validate(
            {name: options[name] for name in PrepareConfig.model_fields if name in options}
        )
    except (KeyError, TypeError, ValueError, ValidationError):
        what = "does not say with which options it was prepared"
        raise DatasetError(what, where=dataset.directory, hint="Prepare the data again") from None


def _read_features(
    dataset: Dataset,
    items: pl.DataFrame,
    table: Path,
    features: Mapping[str, Path],
    context: ReadContext,
) -> dict[str, Modality]:
    """Ready-made features by modality. Raises SourceError."""
    modalities = {}
    for name, path in features.items():
        if not path.is_file():
            raise SourceError("no such file", where=path)
        if is_keyed(path):
            values, present = read_keyed(path, context).aligned(items[ITEM].to_list())
        elif path.suffix == ".npy":
            values = read_rows(path, len(items), table.name, exact=True).astype(np.float32)
            present = np.ones(len(items), dtype=bool)
        else:
            hint = f"Give .npy, {' or '.join(KEYED)}"
            raise SourceError("is no file of features", where=path, hint=hint)
        dim = dataset.schema.modalities[name].dim
        if values.shape[1] != dim:
            what = f"has {values.shape[1]} columns, but '{name}' of the dataset has {dim}"
            raise SourceError(what, where=path)
        if not present.any():
            raise SourceError("has a feature for none of the items", where=path)
        modalities[name] = Modality(values, present)
    return modalities


def _make_features(
    dataset: Dataset,
    items: pl.DataFrame,
    given: Mapping[str, Modality],
    image_folder: Path | None,
    options: PrepareConfig,
) -> dict[str, Modality]:
    """Features of texts and images that are not ``given``, as the dataset has them."""
    made: dict[str, Modality] = {}
    names = [name for name in dataset.modality_names() if name not in given]
    texts = join_texts(items, options)
    if TEXT in names and any(text.strip() for text in texts):
        if dataset.text_vectorizer is not None:
            made[TEXT] = Modality(*dataset.text_vectorizer.transform(texts))
        elif options.text_encoder != TFIDF:
            encoders.check_text_encoder(options)
            made[TEXT] = _check_encoder(dataset, TEXT, encoders.encode_texts(texts, options))
    if image_folder is not None:
        raw = image_folder.parent if image_folder.name == IMAGE_FOLDER else image_folder
        if IMAGE not in names or options.image_encoder is None:
            what = "images are given, but the dataset has no modality that was encoded from images"
            raise SourceError(what, where=image_folder, hint=nearest(IMAGE, names))
        if not list_images(raw):
            hint = "Name the files by item id, such as B0001.jpg"
            raise SourceError("has no image", where=raw / IMAGE_FOLDER, hint=hint)
        images.check_image_encoder(raw, options)
        encoded = images.encode_images(raw, items[ITEM].to_list(), options)
        made[IMAGE] = _check_encoder(dataset, IMAGE, encoded)
    return made


def _check_encoder(dataset: Dataset, name: str, encoded: Encoded) -> Modality:
    """The encoded modality. Raises SourceError unless the dataset's was made by the same files."""
    used = dataset.schema.provenance.get("encoders", {}).get(name, {}).get("files")
    if used != encoded.record["files"]:
        what = f"the encoder of '{name}' is not the one that the dataset was prepared with"
        raise SourceError(what, where=dataset.directory, hint="Put the old model back")
    return encoded.modality


def _how_to_give(dataset: Dataset, name: str) -> str:
    """How new items get features of a modality."""
    if name == TEXT and dataset.text_vectorizer is not None:
        return "their texts have no word that the dataset knows"
    if name in dataset.schema.provenance.get("encoders", {}):
        return "the table has no text" if name == TEXT else "give --images DIR"
    return f"give --features {name}=FILE"


def _no_features(n_items: int, dim: int) -> Modality:
    return Modality(np.zeros((n_items, dim), dtype=np.float32), np.zeros(n_items, dtype=bool))
