"""From a run directory to recommendations in the user's own ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.ranking import batches, rank
from ld4mrec_cli.models.popularity import Popularity
from ld4mrec_cli.runs.catalog import Catalog, KnownSplits
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.serving.lists import RecommendationList, make_lists
from ld4mrec_cli.utils.device import resolve_device
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import UserError


class Recommender:
    """Serves the model of a run: known users by id, new users by their history.

    What is known of a user is what the model reads, and is not recommended again.
    """

    def __init__(
        self,
        run: RunDirectory | str | Path,
        device: torch.device | str = "auto",
        *,
        splits: KnownSplits = "all",
    ) -> None:
        """Load a run.

        Args:
            run: a run directory or its path.
            device: where the model scores.
            splits: whose interactions are known: ``all`` of the dataset, for serving; ``train``
                gives the lists that ``evaluate`` measures; or ``train+valid``.

        Raises:
            RunError: there is no run, or it is damaged or has no weights yet.
            DeviceError: this machine has no such device.
        """
        run = run if isinstance(run, RunDirectory) else RunDirectory.open(Path(run))
        device = resolve_device(device) if isinstance(device, str) else device
        self.run = run
        self.scorer = load_scorer(run, device)
        self.catalog = Catalog(run, splits)
        self.users, self.items, self.titles = (
            self.catalog.users,
            self.catalog.items,
            self.catalog.titles,
        )

    @property
    def known(self) -> csr_matrix:
        """Known interactions ``(n_users, n_items)``: the histories of the users."""
        return self.catalog.known

    @cached_property
    def popularity(self) -> Popularity:
        """The model that ranks for histories to which the run's model relates no item."""
        return Popularity(np.asarray(self.known.sum(axis=0)).ravel())

    def recommend(
        self,
        user: str | None = None,
        history: Sequence[str] | None = None,
        k: int = 20,
        *,
        include_seen: bool = False,
    ) -> RecommendationList:
        """Recommend ``k`` items to a known ``user`` or for a ``history`` of item ids.

        Raises:
            UserError: not exactly one of ``user`` and ``history`` is given.
            UnknownIdError: the dataset does not know an id.
        """
        if (user is None) == (history is None):
            raise UserError("recommend needs either a user or a history")
        if history is not None:
            return self.for_history(history, k, include_seen=include_seen)
        return next(self.for_users([str(user)], k, include_seen=include_seen))

    def for_users(
        self,
        users: Sequence[str],
        k: int,
        *,
        include_seen: bool = False,
        batch_size: int = 1024,
        group: Group = SINGLE_PROCESS,
    ) -> Iterator[RecommendationList]:
        """Recommend ``k`` items to each known user, in the order of ``users``.

        Processes in a ``group`` call this with the same arguments and all exhaust the iterator,
        which gives the lists to the main process and nothing to the others.

        Raises:
            UnknownIdError: at the call, for a user that the dataset does not know.
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
            rows, sizes = self.known[shard], group.shard_sizes(len(batch))
            ranked = self._rank(rows, None if include_seen else rows, k, shard)
            items, scores = (group.gather_array(part, sizes) for part in ranked)
            if group.is_main_process:
                names = [self.users[user] for user in batch]
                is_popular = _is_all_zero(items, scores)
                yield from make_lists(self.catalog, names, items, scores, is_popular)

    def for_history(
        self, items: Sequence[str], k: int, *, include_seen: bool = False
    ) -> RecommendationList:
        """Recommend ``k`` items to a user who interacted with ``items`` (raw ids).

        The user need not be in the training data.

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
        lists, scores = self._rank(row, None if include_seen else row, k)
        is_popular = _is_all_zero(lists, scores)
        return next(make_lists(self.catalog, [None], lists, scores, is_popular))

    def _rank(
        self,
        rows: csr_matrix,
        exclude: csr_matrix | None,
        k: int,
        users: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """:func:`rank`, but the most popular items where all scores of a row are 0.

        Such a row has no item in common with the training data that the model could start from, and
        its ranking would be the order of the catalog.
        """
        items, scores = rank(self.scorer, rows, exclude, k, users)
        if users is not None and self.catalog.splits == "train":
            return items, scores  # what `evaluate` measured
        zero = np.flatnonzero(_is_all_zero(items, scores))
        if len(zero):
            excluded = None if exclude is None else exclude[zero]
            items[zero], _ = rank(self.popularity, rows[zero], excluded, k)
        return items, scores


def _is_all_zero(items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Whether all scores of a list are 0, ``(n,)``, of ``items`` and ``scores`` ``(n, depth)``."""
    is_entry = items >= 0
    return is_entry.any(axis=1) & ((scores == 0.0) | ~is_entry).all(axis=1)
