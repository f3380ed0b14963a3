"""What a run knows of users and items: ids, titles and interactions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.checks import read_ids, read_interactions, read_item_columns
from ld4mrec_cli.data.columns import ITEM, TITLE, USER
from ld4mrec_cli.data.dataset import Ids
from ld4mrec_cli.data.item_columns import ITEM_COLUMNS_FILE
from ld4mrec_cli.data.row_values import PLAIN, RowValues, to_matrix
from ld4mrec_cli.data.splits import SPLITS, Split
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.utils.errors import RunError

KnownSplits = Literal["all", "train", "train+valid"]
SPLITS_OF: dict[KnownSplits, Sequence[Split]] = {
    "all": SPLITS,
    "train": (Split.TRAIN,),
    "train+valid": (Split.TRAIN, Split.VALID),
}
"""The splits that are the history of the users."""


class Catalog:
    """Users, items and their interactions, read from the tables of a run."""

    def __init__(self, run: RunDirectory, splits: KnownSplits) -> None:
        """``splits``: whose interactions are known.

        Raises:
            RunError: a table is missing or damaged.
        """
        self._run = run
        self.splits = splits
        n_users, n_items = run.manifest.dataset.n_users, run.n_items
        users = read_ids(run.verified_path("users.parquet"), USER, n_users, RunError)
        self.users = Ids(users[USER].to_list(), USER)
        table = read_ids(run.verified_path("items.parquet"), ITEM, n_items, RunError)
        self.items = Ids(table[ITEM].to_list(), ITEM)
        self.titles: list[str | None] | None = (
            table[TITLE].to_list() if TITLE in table.columns else None
        )

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_users, n_items)``."""
        return len(self.users), len(self.items)

    @cached_property
    def item_columns(self) -> pl.DataFrame:
        """Columns of the item table ``(n_items, …)``; none where the dataset has none."""
        if ITEM_COLUMNS_FILE not in self._run.manifest.files:
            return pl.DataFrame()
        path = self._run.verified_path(ITEM_COLUMNS_FILE)
        return read_item_columns(path, len(self.items), RunError)

    @cached_property
    def known(self) -> csr_matrix:
        """Known interactions ``(n_users, n_items)``: those of the chosen splits, as they are read.

        The entries are 1, or what :attr:`row_values` makes of them.
        """
        return self.interactions(*SPLITS_OF[self.splits], values=self.row_values)

    @cached_property
    def popularity(self) -> np.ndarray:
        """Known interactions of each item ``(n_items,)``, or the sum of their weights."""
        values = RowValues(self.row_values.mean_weight)
        known = self.interactions(*SPLITS_OF[self.splits], values=values)
        return np.asarray(known.sum(axis=0)).ravel()

    def interactions(self, *splits: Split, values: RowValues = PLAIN) -> csr_matrix:
        """Interactions of some splits, merged ``(n_users, n_items)``."""
        tables = [
            read_interactions(self._run.verified_path(f"{split}.parquet"), self.shape, RunError)
            for split in splits
        ]
        return to_matrix(tables, self.shape, values)

    @property
    def row_values(self) -> RowValues:
        """What an interaction counts in the rows that the run reads."""
        return self._run.manifest.dataset.row_values
