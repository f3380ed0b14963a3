"""Lists that another tool made, evaluated like those of a run (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM, RANK, SCORE, USER
from ld4mrec_cli.data.dataset import UNKNOWN, Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.evaluate import evaluate_lists
from ld4mrec_cli.evaluation.given_lists import GivenLists
from ld4mrec_cli.evaluation.results import Evaluation
from ld4mrec_cli.runs.evaluate import split_question
from ld4mrec_cli.runs.measures import NO_EXTRAS, ExtraMeasures, Extras
from ld4mrec_cli.runs.newer_data import OnUnknown
from ld4mrec_cli.serving.id_files import check_ids, read_columns
from ld4mrec_cli.serving.ids import OnNote, find_known, ignore_note
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.errors import SourceError


@dataclass(frozen=True)
class ReadLists:
    """The lists of a file, in indices of a dataset."""

    lists: GivenLists
    where: Path


def read_lists(
    path: Path,
    dataset: Dataset,
    on_unknown: OnUnknown = "error",
    on_note: OnNote = ignore_note,
) -> ReadLists:
    """Read a table (CSV, TSV, Parquet) of users, items, and the rank or score of each entry.

    Ranks count, smaller ones are better; without a column of ranks, scores do, larger ones are
    better, and equal ones are ordered by the internal item index, as everywhere.

    Args:
        path: the table; its columns are known by their usual names.
        dataset: users and items are matched by their raw ids.
        on_unknown: ``skip`` leaves entries of unknown users and items out and says how many; the
            entries below move up.
        on_note: gets such lines.

    Raises:
        SourceError: the table is malformed, has two entries of a user at one rank, or one item
            twice in a list.
        UnknownIdError: a user or item is unknown, and they are not to be skipped.
    """
    table = read_columns(path, (USER, ITEM), (RANK, SCORE))
    if table[USER].is_empty():
        raise SourceError("holds no list", where=path)
    users, items = (
        find_known(
            check_ids(table[ids.kind], ids.kind, path).to_list(),
            ids,
            skip_unknown=on_unknown == "skip",
            on_note=on_note,
            where=path,
            option="--on-unknown skip",
        )
        for ids in (dataset.users, dataset.items)
    )
    keys = _sort_keys(table, path)
    is_known = (users != UNKNOWN) & (items != UNKNOWN)
    users, items, keys = users[is_known], items[is_known], keys[is_known]
    order = np.lexsort((items, keys, users))
    users, items, keys = users[order], items[order], keys[order]
    if RANK in table:
        _check_ranks(users, keys, dataset, path)
    _check_items(users, items, dataset, path)
    return ReadLists(GivenLists.of(users, items, dataset.shape[0]), path)


def _sort_keys(table: Mapping[str, pl.Series], path: Path) -> np.ndarray:
    """What a list is sorted by, ascending ``(n,)``: ranks, or negative scores."""
    name = RANK if RANK in table else SCORE
    if name not in table:
        what = "has neither a column 'rank' nor a column 'score'"
        raise SourceError(what, where=path, hint="Name one of them in the first line")
    given = table[name]
    texts = given.str.strip_chars() if given.dtype == pl.String else given
    numbers = texts.cast(pl.Float64, strict=False)
    is_bad = numbers.is_null() | ~numbers.is_finite()
    if name == RANK:
        is_bad |= (numbers != numbers.floor()) | (numbers < 0.0)
    bad = is_bad.arg_true()
    if len(bad):
        kind = "a whole number" if name == RANK else "a number"
        what = f"row {bad[0] + 1}: the {name} '{given[bad[0]]}' is not {kind}"
        raise SourceError(what, where=path, hint="Mend it")
    return numbers.to_numpy() if name == RANK else -numbers.to_numpy()


def _check_ranks(users: np.ndarray, ranks: np.ndarray, dataset: Dataset, path: Path) -> None:
    """Raise SourceError where two entries of a user, who are in order, have one rank."""
    at = np.flatnonzero((np.diff(users) == 0) & (np.diff(ranks) == 0))
    if len(at):
        what = f"user '{dataset.users[users[at[0]]]}' has two entries at rank {ranks[at[0]]:.0f}"
        raise SourceError(what, where=path, hint="Mend the ranks, or leave them out for scores")


def _check_items(users: np.ndarray, items: np.ndarray, dataset: Dataset, path: Path) -> None:
    """Raise SourceError where a list holds an item twice."""
    order = np.lexsort((items, users))
    at = np.flatnonzero((np.diff(users[order]) == 0) & (np.diff(items[order]) == 0))
    if len(at):
        first = order[at[0]]
        user, item = dataset.users[users[first]], dataset.items[items[first]]
        what = f"the list of user '{user}' holds item '{item}' twice"
        raise SourceError(what, where=path, hint="Leave one of them out")


def evaluate_given(
    given: ReadLists,
    dataset: Dataset,
    split: str,
    options: EvaluationConfig,
    on_note: OnNote = ignore_note,
    extras: Extras = NO_EXTRAS,
) -> Evaluation:
    """Evaluate lists on a split of a dataset, under the protocol of runs.

    Excluded items do not count as entries: the entries below move up, as in a ranking that leaves
    these items out. A user who has a target and no list has an empty one, and so finds nothing.

    Args:
        given: the lists.
        dataset: the dataset that they were read for.
        split: ``valid`` or ``test``.
        options: cutoffs, mask and batch size; on ``valid`` the mask is ``train``.
        on_note: gets lines on excluded entries, users without a list, and short lists.
        extras: what is measured beside accuracy.

    Raises:
        DatasetError: the split is empty, or the dataset lacks what ``extras`` need.
    """
    mask = Split.TRAIN.value if split == Split.VALID else options.mask
    question = split_question(dataset, split, mask)
    lists = given.lists.without(question.exclude)
    for note in _notes(given, lists, np.diff(question.targets.indptr) > 0, max(options.k), mask):
        on_note(note)
    more = ExtraMeasures(extras, dataset, question.rows)
    found = evaluate_lists(
        lists, question.rows, question.targets, options.k, options.batch_size, more.measures
    )
    return more.finish(found)


def _notes(
    given: ReadLists, lists: GivenLists, is_asked: np.ndarray, depth: int, mask: str
) -> list[str]:
    """What is to be said of the lists of the users with a target."""
    before, after = given.lists.lengths[is_asked], lists.lengths[is_asked]
    n_masked, n_lost = int((before - after).sum()), int((before > after).sum())
    n_without = int((after == 0).sum())
    n_short = int(((after > 0) & (after < depth)).sum())
    of = f"of the {len(after):,} users with a target"
    notes = []
    if n_masked:
        notes.append(
            f"left out: {n_masked:,} entries of {n_lost:,} users, which are {mask} items of "
            "theirs; the entries below move up"
        )
    if n_without:
        notes.append(f"{n_without:,} {of} have no list and count as 0")
    if n_short:
        notes.append(f"{n_short:,} {of} have a list of fewer than {depth:,} entries")
    return [f"{given.where}: {note}" for note in notes]
