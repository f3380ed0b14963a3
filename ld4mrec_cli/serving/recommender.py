"""From a run directory to recommendations in the user's own ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.checks import read_ids, read_interactions
from ld4mrec_cli.data.columns import ITEM, TITLE, USER
from ld4mrec_cli.data.dataset import Ids, to_matrix
from ld4mrec_cli.evaluation.ranking import batches, rank
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import RunError


@dataclass(frozen=True)
class RecommendedItem:
    """One entry of a list."""

    item: str
    score: float
    title: str | None


@dataclass(frozen=True)
class RecommendationList:
    """Ranked items for one user; ``user`` is None for a history."""

    user: str | None
    items: list[RecommendedItem]


class Recommender:
    """Serves the model of a run: known users by id, new users by their history."""

    def __init__(self, run: RunDirectory, device: torch.device) -> None:
        self.run = run
        self.scorer = load_scorer(run, device)
        n_users, n_items = run.manifest.dataset.n_users, run.manifest.dataset.n_items
        users = read_ids(run.verified_path("users.parquet"), USER, n_users, RunError)
        self.users = Ids(users[USER].to_list(), USER)
        table = read_ids(run.verified_path("items.parquet"), ITEM, n_items, RunError)
        self.items = Ids(table[ITEM].to_list(), ITEM)
        self.titles: list[str | None] | None = (
            table[TITLE].to_list() if TITLE in table.columns else None
        )

    @cached_property
    def train(self) -> csr_matrix:
        """Training interactions ``(n_users, n_items)``."""
        shape = len(self.users), len(self.items)
        path = self.run.verified_path("train.parquet")
        return to_matrix(read_interactions(path, shape, RunError), shape)

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

        Processes in a ``group`` call this with the same arguments and all go through the iterator,
        which gives the lists to the main process and nothing to the others.

        Raises:
            UnknownIdError: a user is unknown; at the call, before any list is made.
        """
        indices = np.fromiter(
            (self.users.index(user) for user in users), dtype=np.int64, count=len(users)
        )
        return self._lists(indices, k, include_seen, batch_size, group)

    def _lists(
        self, users: np.ndarray, k: int, include_seen: bool, batch_size: int, group: Group
    ) -> Iterator[RecommendationList]:
        for batch in batches(users, batch_size * group.size):
            shard = batch[slice(*group.shard_bounds(len(batch)))]
            rows, sizes = self.train[shard], group.shard_sizes(len(batch))
            ranked = rank(self.scorer, rows, None if include_seen else rows, k, shard)
            items, scores = (group.gather_array(part, sizes) for part in ranked)
            if group.is_main_process:
                yield from self._to_lists(items, scores, batch)

    def for_history(
        self, items: Sequence[str], k: int, *, include_seen: bool = False
    ) -> RecommendationList:
        """Recommend ``k`` items to someone with a history of ``items`` (raw ids).

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
        ranked, scores = rank(self.scorer, row, None if include_seen else row, k)
        return next(self._to_lists(ranked, scores, None))

    def _to_lists(
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
