"""Newer data of the same catalog: what a run is asked, in its own items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.dataset import UNKNOWN, Dataset
from ld4mrec_cli.data.row_values import RowValues, add_newer, to_matrix
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.validation import leave_out_learned
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.runs.id_map import IdMap, subtract
from ld4mrec_cli.runs.learned import learned_interactions
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.utils.errors import DatasetError, UnknownIdError

OnUnknown = Literal["error", "skip"]


@dataclass(frozen=True)
class Question:
    """What a run is evaluated on; users are those of the dataset, items those of the run."""

    rows: csr_matrix
    """Histories ``(n_users, n_items)``."""
    targets: csr_matrix
    """Items to find ``(n_users, n_items)``."""
    exclude: csr_matrix
    """Items that are not ranked ``(n_users, n_items)``."""
    users: np.ndarray | None = None
    """Index of each user in the run ``(n_users,)`` int64, UNKNOWN for new ones; None: the same."""
    items: np.ndarray | None = None
    """Index in the dataset of each item ``(n_items,)`` int64, UNKNOWN for others; None: the same,
    but for new items of the run, which come last."""


def newer_question(
    run: RunDirectory,
    dataset: Dataset,
    split: str,
    mask: str,
    on_unknown: OnUnknown,
    on_note: Callable[[str], None],
) -> Question:
    """Ask a run for a split of newer data.

    Histories are the training split of the newer data; those of a refit also what it knows. A new
    user with a history is scored by it, where the model can. No target is what the weights have
    learned; that, the histories and, with ``mask`` ``train+valid``, the newer validation split are
    not ranked.

    Args:
        run: a finished run.
        dataset: the newer data; users and items are matched by their raw ids.
        split: what to find, ``valid`` or ``test``.
        mask: ``train``, ``train+valid``, or ``all`` for a refit.
        on_unknown: ``skip`` leaves out users and items of the split that the run cannot answer for.
        on_note: gets a line on what is left out.

    Raises:
        UnknownIdError: there are such users or items, and they are not to be skipped.
        DatasetError: nothing is left, or the run has learned most of the split.
    """
    catalog = Catalog(run, "all" if run.manifest.refit_of is not None else "train")
    n_users, n_items = dataset.shape[0], len(catalog.items)
    items = catalog.items.find(dataset.items.ids)
    of_items = IdMap(np.arange(n_users), items, (n_users, n_items))
    of_users = IdMap(dataset.users.find(catalog.users.ids), np.arange(n_items), (n_users, n_items))
    users = catalog.users.find(dataset.users.ids)
    history, n_lost = _read_history(dataset, items != UNKNOWN, catalog.row_values)
    rows = of_items.move(history)
    learned = of_users.move(learned_interactions(run, catalog))
    asked = dataset.matrix(split)
    is_answered = users != UNKNOWN
    if MODELS[run.manifest.model].scores_new_users:
        is_answered |= np.diff(rows.indptr) > 0
    _check_unknown(run, dataset, split, asked, items != UNKNOWN, is_answered, on_unknown, on_note)
    targets = of_items.move(_keep_rows(asked, is_answered))
    exclude = csr_matrix(rows.maximum(learned))
    if run.manifest.refit_of is not None:
        rows = add_newer(of_users.move(catalog.known), rows, catalog.row_values)
        targets = _new_to_refit(targets, learned, on_note)
    else:
        targets = leave_out_learned(targets, learned, split, dataset, on_note)
        if mask != Split.TRAIN:
            exclude = csr_matrix(exclude.maximum(of_items.move(dataset.matrix(Split.VALID))))
    if not targets.nnz:
        what = f"the {split} split has no interaction that is new to {run.path}"
        raise DatasetError(what, where=dataset.directory)
    if n_lost:
        on_note(f"the histories lack {n_lost:,} interactions with items that the run does not know")
    n_new = int(((users == UNKNOWN) & (np.diff(targets.indptr) > 0)).sum())
    if n_new:
        on_note(f"scored by their newer history: {n_new:,} users that the run does not know")
    return Question(rows, targets, exclude, users, dataset.items.find(catalog.items.ids))


def _read_history(
    dataset: Dataset, is_known: np.ndarray, values: RowValues
) -> tuple[csr_matrix, int]:
    """Training rows ``(n_users, n_items)`` of known items, and the number of other interactions.

    Items that are not known ``(n_items,)`` make no item older.
    """
    table = dataset.interactions(Split.TRAIN)
    is_kept = pl.Series(is_known).gather(table[ITEM])
    kept = table.filter(is_kept)
    return to_matrix([kept], dataset.shape, values), len(table) - len(kept)


def _keep_rows(matrix: csr_matrix, is_kept: np.ndarray) -> csr_matrix:
    """``matrix`` ``(n_users, n_items)`` with the rows of the others empty."""
    users = np.where(is_kept, np.arange(len(is_kept)), UNKNOWN)
    return IdMap(users, np.arange(matrix.shape[1]), matrix.shape).move(matrix)


def _new_to_refit(
    targets: csr_matrix, learned: csr_matrix, on_note: Callable[[str], None]
) -> csr_matrix:
    """``targets`` without what a refit knows; that may be most of them, as it has all splits."""
    new = subtract(targets, learned)
    if new.nnz < targets.nnz:
        n_known = targets.nnz - new.nnz
        on_note(f"left out: {n_known:,} of the {targets.nnz:,} interactions, which the run knows")
    return new


def _check_unknown(
    run: RunDirectory,
    dataset: Dataset,
    split: str,
    asked: csr_matrix,
    is_known_item: np.ndarray,
    is_answered: np.ndarray,
    on_unknown: OnUnknown,
    on_note: Callable[[str], None],
) -> None:
    """Say what of a split cannot be asked for, or raise UnknownIdError."""
    entries = asked.tocoo()
    unknown = {
        "item": entries.col[~is_known_item[entries.col]],
        "user": entries.row[~is_answered[entries.row]],
    }
    parts = list(_describe(unknown))
    if not parts:
        return
    if on_unknown == "skip":
        lost = ~is_known_item[entries.col] | ~is_answered[entries.row]
        of = f"{int(lost.sum()):,} of the {asked.nnz:,} interactions of the {split} split"
        on_note(f"left out: {of}, of {' and '.join(parts)} that the run does not know")
        return
    raise UnknownIdError(
        f"the {split} split has {' and '.join(parts)} that {run.path} does not know",
        where=dataset.directory,
        hint="--on-unknown skip leaves them out",
    )


def _describe(unknown: dict[str, np.ndarray]) -> Iterator[str]:
    for kind, indices in unknown.items():
        n_distinct = len(np.unique(indices))
        if n_distinct:
            yield f"{n_distinct:,} {kind}{'' if n_distinct == 1 else 's'}"
