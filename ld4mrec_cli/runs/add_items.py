"""Extend a finished run by new items, by their content; the weights of the run stay as they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.item_columns import ITEM_COLUMNS_FILE
from ld4mrec_cli.data.new_items import NewItems, read_new_items
from ld4mrec_cli.data.splits import SPLITS, Split
from ld4mrec_cli.models.ops.content_neighbors import (
    ItemFeatures,
    embed_content,
    find_content_neighbors,
)
from ld4mrec_cli.models.specs import MODELS, no_added_items
from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.runs.evaluate import check_same_dataset, open_run_dataset
from ld4mrec_cli.runs.extension import Extension, load_extension
from ld4mrec_cli.runs.manifest import NewItems as NewItemsInfo
from ld4mrec_cli.runs.paths import new_run_path, point_latest
from ld4mrec_cli.runs.run_directory import CURVE, METRICS, NEW_ITEMS, RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.utils.errors import DatasetError, OutputError, RunError, UserError
from ld4mrec_cli.utils.files import atomic_directory, check_output_directory
from ld4mrec_cli.utils.text import printable

OnNote = Callable[[str], None]
ITEMS_FILE = "items.parquet"
NEW_ITEM_WEIGHT = 0.7
"""New items are seen, at little cost to the known ones (docs/experiments.md)."""
SHOWN = 3
"""Known items that a message names."""


def add_items(
    run: RunDirectory,
    table: Path,
    out: Path | None = None,
    *,
    features: Mapping[str, Path] | None = None,
    images: Path | None = None,
    data: Path | None = None,
    weight: float | None = None,
    on_note: OnNote = lambda text: None,
) -> RunDirectory:
    """Write a run that knows new items, too, and recommends them by their content.

    The new run is ``run`` with the new items after those that it knows. It can be extended again:
    each item is compared with those that the run was trained on, so the order does not matter.

    Args:
        run: a complete run with a dataset that has content.
        table: of the new items, see :func:`ld4mrec_cli.data.new_items.read_new_items`.
        out: run directory to write; None: ``runs/NAME-TIME``.
        features: ready-made features by modality.
        images: a folder of images.
        data: the run's dataset, if it was moved.
        weight: factor of the scores of all new items; None: that of ``run``, else
            :data:`NEW_ITEM_WEIGHT`.
        on_note: gets a line on items without content, and the like.

    Raises:
        RunError: the run is not complete or damaged.
        UserError: its model takes no new items, or knows one of them already.
        DatasetError: the dataset is missing, another one, or has no content.
        SourceError: the new items cannot be read, or none has content.
        OutputError: ``out`` exists.
    """
    check_extendable(run)
    target = new_run_path(run.manifest.name) if out is None else out
    _check_free(target)
    dataset = open_run_dataset(run, data)
    check_same_dataset(run, dataset)
    new = read_new_items(dataset, table, features, images)
    _check_unknown(run, new.items[ITEM].to_list(), table)
    extension = make_extension(run, dataset, new, on_note=on_note)
    has_content = np.diff(extension.neighbors.indptr)[-len(new.items) :] > 0
    n_without = int((~has_content).sum())
    if n_without == len(new.items):
        hint = "; ".join(new.notes)
        raise UserError("no new item has content like that of known ones", where=table, hint=hint)
    for note in new.notes:
        on_note(note)
    if n_without:
        on_note(f"{n_without:,} of {len(new.items):,} items have no content: they are listed last")
    return write_extended(run, target, new.items, new.columns, extension, weight)


def check_extendable(run: RunDirectory) -> None:
    """Raise RunError or UserError unless a run can be extended by new items."""
    if run.manifest.status != "complete":
        hint = "Extend a run whose training ended"
        raise RunError(f"this run is {run.manifest.status}", where=run.path, hint=hint)
    if not MODELS[run.manifest.model].takes_new_items:
        raise no_added_items(run.manifest.model)


def make_extension(
    run: RunDirectory,
    dataset: Dataset,
    new: NewItems,
    learned: Mapping[str, np.ndarray] | None = None,
    on_note: OnNote = lambda text: None,
) -> Extension:
    """The new items of a run, after those that it may have already.

    They are compared with the items that have interactions that the run was trained on, by the
    modalities that it reads, or by all of the dataset where its model reads none. What the model
    learns of content is learned once, when a run is first extended.

    Args:
        run: a complete run.
        dataset: what it was trained on.
        new: the new items.
        learned: what the model learned of content, from another extension of the run; None: it
            learns.
        on_note: gets a line before the model learns, which takes a while.

    Raises:
        DatasetError: the dataset has no content.
        RunError: the run is damaged.
    """
    names = run.manifest.dataset.modalities
    if not MODELS[run.manifest.model].reads_features:
        names = list(dataset.modality_names())
    if not names:
        what = "the run reads no item features, by which new items could be compared"
        hint = "Prepare data with item content, and train with data.modalities"
        raise DatasetError(what, where=dataset.directory, hint=hint)
    known = {name: dataset.modality(name, is_mapped=True) for name in names}
    known_rows, new_rows = embed_content(
        {name: ItemFeatures(one.values, one.present) for name, one in known.items()},
        {
            name: ItemFeatures(new.modalities[name].values, new.modalities[name].present)
            for name in names
        },
    )
    trained = dataset.matrix(
        *([Split.TRAIN] if run.manifest.refit_of is None else SPLITS),
        values=run.manifest.dataset.training_values,
    )
    neighbors = find_content_neighbors(known_rows, new_rows, trained.getnnz(axis=0) > 0)
    new_rows = new_rows.astype(np.float32)
    if run.manifest.new_items is not None:
        return load_extension(run).append(neighbors, new_rows)
    if learned is None:
        learned = _learn_content(run, trained, known_rows, on_note)
    return Extension(neighbors, new_rows if learned else None, learned)


def _learn_content(
    run: RunDirectory, trained: csr_matrix, content: np.ndarray, on_note: OnNote
) -> dict[str, np.ndarray]:
    """What the model of a run learns of the content of its items; others are not loaded for it."""
    if not MODELS[run.manifest.model].learns_content:
        return {}
    on_note("learning which content suits which history")
    model = load_scorer(run, torch.device("cpu"))
    return model.learn_content(trained, content, run.config.training.seed)


def write_extended(
    run: RunDirectory,
    target: Path,
    items: pl.DataFrame,
    columns: pl.DataFrame,
    extension: Extension,
    weight: float | None = None,
) -> RunDirectory:
    """Write a copy of ``run`` that knows ``items``, too.

    Args:
        run: the run, which may be extended already.
        target: run directory to write.
        items: ids and titles of the new items.
        columns: their values in the columns of the run; none where it has none.
        extension: of :func:`make_extension`.
        weight: see :func:`add_items`.

    Raises:
        RunError: the run is damaged.
        OutputError: ``target`` exists.
    """
    before = run.manifest.new_items
    info = NewItemsInfo(
        source=str(run.path.resolve()),
        count=extension.neighbors.shape[0],
        weight=weight or (NEW_ITEM_WEIGHT if before is None else before.weight),
    )
    with atomic_directory(
        target.resolve(), overwrite=False, is_replaceable=lambda path: False
    ) as temporary:
        kept = [name for name in run.manifest.files if name != NEW_ITEMS]
        for name in kept:
            shutil.copyfile(run.verified_path(name), temporary / name)
        for name in (METRICS, CURVE):
            if (run.path / name).is_file():
                shutil.copyfile(run.path / name, temporary / name)
        _append(temporary / ITEMS_FILE, items)
        if ITEM_COLUMNS_FILE in kept:
            _append(temporary / ITEM_COLUMNS_FILE, columns)
        extended = RunDirectory(temporary, run.manifest.model_copy(update={"new_items": info}))
        extended.add_new_items(extension.to_arrays(), run.config)
    written = RunDirectory.open(target)
    point_latest(written)
    return written


def _check_free(target: Path) -> None:
    """Raise OutputError where a run cannot be written."""
    if target.is_dir() and any(target.iterdir()):
        raise OutputError("exists", where=target, hint="Choose another --out")
    check_output_directory(target, overwrite=False, is_replaceable=lambda path: False)


def _append(path: Path, rows: pl.DataFrame) -> None:
    """Append rows to a Parquet table; a column that one of them lacks has no values there."""
    pl.concat([pl.read_parquet(path, glob=False), rows], how="diagonal").write_parquet(path)


def _check_unknown(run: RunDirectory, items: list[str], table: Path) -> None:
    """Raise UserError where the run knows one of the items."""
    catalog = Catalog(run, "train").items
    known = [item for item in items if item in catalog]
    if known:
        names = ", ".join(f"'{printable(item)}'" for item in known[:SHOWN])
        names += ", …" if len(known) > SHOWN else ""
        what = f"{len(known):,} of the {len(items):,} items are known to {run.path}: {names}"
        raise UserError(what, where=table, hint="Leave them out")
