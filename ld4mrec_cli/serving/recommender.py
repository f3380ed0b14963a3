"""From a run directory to recommendations in the user's own ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.columns import ITEM, TITLE, USER
from ld4mrec_cli.data.dataset import Ids, to_matrix
from ld4mrec_cli.evaluation.ranking import batches, rank
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group


@dataclass(frozen=True)
class RecommendedItem:
    """One entry of a list."""

    item: str
    score: float
    title: str | None


@dataclass(frozen=True)
class RecommendationList:
    """Ranked items for one user; ``user`` is None for a history that was given."""

    user: str | None
    items: list[RecommendedItem]


class Recommender:
    """Serves the model of a run: known users by id, new users by their history."""

    def __init__(self, run: RunDirectory, device: torch.device) -> None:
        self.run = run
        self.scorer = load_scorer(run, device)
        self.users = Ids(
            pl.read_parquet(run.verified_path("users.parquet"), glob=False)[USER].to_list(), USER
        )
        table = pl.read_parquet(run.verified_path("items.parquet"), glob=False)
        self.items = Ids(table[ITEM].to_list(), ITEM)
        self.titles: list[str | None] | None = (
            table[TITLE].to_list() if TITLE in table.columns else None
        )

    @cached_property
    def train(self) -> csr_matrix:
        """Training interactions ``(n_users, n_items)``."""
        return to_matrix(
            pl.read_parquet(self.run.verified_path("train.parquet"), glob=False),
            (len(self.users), len(self.items)),
        )

    def for_users(
        self,
        users: Sequence[str],
        k: int,
        *,
        include_seen: bool = False,
        batch_size: int = 1024,
        group: Group = SINGLE_PROCESS,
    ) -> Iterator[RecommendationList]:
        """Recommend ``k`` items to each known user, in the given order, as an iterator of lists.

        Processes in a ``group`` call this with the same arguments and all go through the iterator, which gives the
        lists to the writer and nothing to the others.

        Raises:
            UnknownIdError: at the call, before any list is made, for a user that the dataset does not know.
        """
        indices = np.fromiter(
            (self.users.index(user) for user in users), dtype=np.int64, count=len(users)
        )
        return self._lists(indices, k, include_seen, batch_size, group)

    def _lists(
        self, users: np.ndarray, k: int, include_seen: bool, batch_size: int, group: Group
    ) -> Iterator[RecommendationList]:
        for several in batches(users, batch_size * group.size):
            own = several[slice(*group.shard_bounds(len(several)))]
            rows, sizes = self.train[own], group.shard_sizes(len(several))
            found = rank(self.scorer, rows, None if include_seen else rows, k, own)
            lists, their_scores = (group.gather_array(part, sizes) for part in found)
            if group.is_main_process:
                yield from self._named(lists, their_scores, several)

    def for_history(
        self, items: Sequence[str], k: int, *, include_seen: bool = False
    ) -> RecommendationList:
        """Recommend ``k`` items to someone who interacted with ``items`` (raw ids), without retraining.

        Raises:
            UnknownIdError: an item that the dataset does not know.
        """
        indices = np.unique([self.items.index(item) for item in items])
        row = csr_matrix(
            (
                np.ones(len(indices), dtype=np.float32),
                (np.zeros(len(indices), dtype=np.int64), indices),
            ),
            shape=(1, len(self.items)),
        )
        found, scores = rank(self.scorer, row, None if include_seen else row, k)
        return next(self._named(found, scores, None))

    def _named(
        self, items: np.ndarray, scores: np.ndarray, users: np.ndarray | None
    ) -> Iterator[RecommendationList]:
        """The lists of ``users`` ``(n,)``, or of a history, in raw ids."""
        for n, (row, row_scores) in enumerate(zip(items, scores, strict=True)):
            yield RecommendationList(
                None if users is None else self.users[users[n]],
                [
                    RecommendedItem(
                        self.items[item], float(score), self.titles[item] if self.titles else None
                    )
                    for item, score in zip(row, row_scores, strict=True)
                    if item >= 0
                ],
            )
