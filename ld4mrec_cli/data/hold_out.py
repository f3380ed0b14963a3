"""Datasets without some of their items: what a model knows before new items arrive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ld4mrec_cli import __version__
from ld4mrec_cli.data.columns import ITEM, TITLE
from ld4mrec_cli.data.dataset import Dataset, Schema, is_replaceable, write_dataset
from ld4mrec_cli.data.features import Modality, impute
from ld4mrec_cli.data.splits import SPLITS, Split
from ld4mrec_cli.utils.errors import DatasetError, OutputError
from ld4mrec_cli.utils.files import atomic_directory


def hold_out_items(
    dataset: Dataset,
    items: np.ndarray,
    out: Path,
    *,
    stay_in_catalog: bool = False,
    overwrite: bool = False,
) -> Schema:
    """Write ``dataset`` without some items: their interactions leave all splits.

    Users stay, also those who have no interaction left, so that user indices are the same. The
    other items keep their order. Items without a feature get the mean of those that are left.

    Args:
        dataset: the whole dataset.
        items: items to leave out ``(m,)`` int64, each once.
        out: dataset directory to write.
        stay_in_catalog: they keep their ids and features, and lose their interactions alone.
        overwrite: replace a dataset that is there.

    Raises:
        DatasetError: a split is empty without them.
        OutputError: ``out`` exists and may not be replaced, or is the dataset itself.
    """
    if out.resolve() == dataset.directory.resolve():
        raise OutputError("is the dataset itself", where=out, hint="Choose another --out")
    catalog = np.arange(dataset.shape[1])
    known = np.setdiff1d(catalog, items)
    kept = catalog if stay_in_catalog else known
    tables: dict[str, pl.DataFrame] = {
        split: _reindex(dataset.interactions(split), known, kept) for split in SPLITS
    }
    for split in SPLITS:
        if tables[split].is_empty() and (
            split == Split.TRAIN or dataset.schema.splits[split].items
        ):
            what = f"the {split} split is empty without {len(items):,} of the items"
            raise DatasetError(what, where=dataset.directory, hint="Hold fewer items out")
    columns = {ITEM: dataset.items.ids} | ({TITLE: dataset.titles} if dataset.titles else {})
    item_columns = dataset.item_columns
    step = {"from": dataset.name, "from_hash": dataset.hash, "items": len(items)}
    with atomic_directory(out, overwrite=overwrite, is_replaceable=is_replaceable) as temporary:
        return write_dataset(
            temporary,
            name=out.name,
            users=dataset.users.ids,
            items=pl.DataFrame(columns)[kept],
            item_columns=pl.DataFrame() if item_columns is None else item_columns[kept],
            splits=tables,
            modalities={name: _select(dataset, name, kept) for name in dataset.modality_names()},
            split_method=dataset.schema.split_method,
            text_vectorizer=dataset.text_vectorizer,
            provenance={**dataset.schema.provenance, "held_out": {"ld4mrec": __version__, **step}},
        )


def _reindex(table: pl.DataFrame, known: np.ndarray, kept: np.ndarray) -> pl.DataFrame:
    """The interactions with ``known`` items, in their indices among the ``kept`` ones."""
    items = table[ITEM].to_numpy()
    is_known = np.isin(items, known)
    indices = pl.Series(ITEM, np.searchsorted(kept, items[is_known]), dtype=pl.UInt32)
    return table.filter(pl.Series(is_known)).with_columns(indices)


def _select(dataset: Dataset, name: str, kept: np.ndarray) -> Modality:
    modality = dataset.modality(name)
    return impute(modality.values[kept], modality.present[kept])
