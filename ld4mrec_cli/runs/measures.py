"""What an evaluation measures beside accuracy, made from a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import UNKNOWN, Dataset
from ld4mrec_cli.evaluation.beyond import (
    ContentDiversity,
    CooccurrenceDiversity,
    Miscalibration,
    Novelty,
    Serendipity,
)
from ld4mrec_cli.evaluation.evaluate import Measure
from ld4mrec_cli.evaluation.groups import (
    TierAccuracy,
    group_by_activity,
    group_by_history,
    group_by_values,
    group_items,
    popularity_tiers,
)
from ld4mrec_cli.evaluation.results import Evaluation
from ld4mrec_cli.utils.errors import DatasetError, nearest


@dataclass(frozen=True)
class Extras:
    """What is wanted beside accuracy."""

    beyond: bool = False
    """Novelty, diversity and serendipity."""
    categories: str | None = None
    """Column of the item table whose calibration is measured."""
    separator: str = "|"
    """What separates the categories of an item in a text."""
    groups: bool = False
    """Metrics by groups of users and of items."""
    user_values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Further groups of users: column → raw id → value."""


NO_EXTRAS = Extras()
"""Accuracy and the lists as a whole, nothing else."""


class ExtraMeasures:
    """The measures of :class:`Extras`, for one evaluation."""

    def __init__(
        self, extras: Extras, dataset: Dataset, train: csr_matrix, items: np.ndarray | None = None
    ) -> None:
        """Read what the measures need.

        Args:
            extras: what is wanted.
            dataset: ids, features and columns.
            train: training interactions ``(n_users, n_items)``.
            items: index in the dataset of each column of ``train``, UNKNOWN for others; None: the
                same.

        Raises:
            DatasetError: the dataset lacks the column of the categories, or all users of a column
                of values.
        """
        self._extras, self._dataset = extras, dataset
        _check_users(dataset, extras.user_values)
        places = np.arange(train.shape[1]) if items is None else items
        places = np.where(places < dataset.shape[1], places, UNKNOWN)
        self.measures: list[Measure] = []
        if extras.beyond:
            self.measures += [Novelty(train), Serendipity(train), CooccurrenceDiversity(train)]
            self.measures += [_content(dataset, name, places) for name in dataset.modality_names()]
        if extras.categories is not None:
            categories = read_categories(dataset, extras.categories, extras.separator)[places]
            self.measures.append(Miscalibration(train, _without(categories, places == UNKNOWN)))
        self._tiers = popularity_tiers(train) if extras.groups else None
        if self._tiers is not None:
            self.measures.append(TierAccuracy(self._tiers))

    def finish(self, evaluation: Evaluation) -> Evaluation:
        """Add the groups to an evaluation that has the measures."""
        if self._tiers is None:
            return evaluation
        evaluation, of_items = group_items(evaluation, self._tiers)
        groups = [group_by_history(evaluation), group_by_activity(evaluation)]
        for column, values in self._extras.user_values.items():
            own = [values.get(self._dataset.users[user]) for user in evaluation.users]
            groups.append(group_by_values(evaluation, column, own))
        return replace(evaluation, groups=[*groups, of_items])


def _check_users(dataset: Dataset, columns: Mapping[str, Mapping[str, str]]) -> None:
    """Raise DatasetError if no user of a column of values is in the dataset."""
    for column, values in columns.items():
        if values and values.keys().isdisjoint(dataset.users.ids):
            raise DatasetError(
                f"has no user of the column '{column}' of --user-groups",
                where=dataset.directory,
                hint=f"Its ids are like '{next(iter(values))}', not '{dataset.users.ids[0]}'",
            )


def _content(dataset: Dataset, name: str, places: np.ndarray) -> ContentDiversity:
    modality = dataset.modality(name, is_mapped=True)
    present = modality.present[places] & (places != UNKNOWN)
    if np.array_equal(places, np.arange(len(modality.values))):
        return ContentDiversity(name, modality.values, present)
    return ContentDiversity(name, modality.values[places], present)


def _without(matrix: csr_matrix, is_left_out: np.ndarray) -> csr_matrix:
    """``matrix`` ``(n, m)`` with the rows that are left out empty."""
    kept = csr_matrix(matrix.multiply(~is_left_out[:, None]))
    kept.eliminate_zeros()
    return kept


def read_categories(dataset: Dataset, column: str, separator: str = "|") -> csr_matrix:
    """Categories of the items ``(n_items, n_categories)``: those of an item share 1.

    A list has a category for each of its texts, a text one for each part between separators.

    Raises:
        DatasetError: the dataset has no such column, or no value in it.
    """
    columns = dataset.item_columns
    names = [] if columns is None else columns.columns
    if columns is None or column not in names:
        what = f"has no item column '{column}'"
        raise DatasetError(
            what, where=dataset.directory, hint=nearest(column, names) or "It has none"
        )
    values = columns[column]
    if values.dtype == pl.String:
        values = values.str.split(separator)
    elif not isinstance(values.dtype, pl.List):
        values = values.cast(pl.String).reshape((-1, 1)).arr.to_list()
    pairs = pl.DataFrame({"item": np.arange(len(values)), "category": values})
    pairs = pairs.explode("category").with_columns(pl.col("category").str.strip_chars())
    pairs = pairs.filter(pl.col("category").str.len_bytes() > 0).unique(maintain_order=True)
    if pairs.is_empty():
        raise DatasetError(f"has no value in the item column '{column}'", where=dataset.directory)
    codes = pairs["category"].rank("dense").to_numpy().astype(np.int64) - 1
    items = pairs["item"].to_numpy()
    shares = 1.0 / np.bincount(items, minlength=len(values))[items]
    shape = len(values), int(cast(int, codes.max())) + 1
    return csr_matrix((shares, (items, codes)), shape=shape)
