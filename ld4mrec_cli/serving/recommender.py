"""From a run directory to recommendations in the user's own ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import UNKNOWN
from ld4mrec_cli.evaluation.ranking import batches, rank
from ld4mrec_cli.models.base import Recommender as Model
from ld4mrec_cli.models.popularity import Popularity
from ld4mrec_cli.models.specs import MODELS, NO_NEW_USERS, no_new_users
from ld4mrec_cli.runs.catalog import Catalog, KnownSplits
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.serving.candidates import rank_candidates
from ld4mrec_cli.serving.filters import Filters
from ld4mrec_cli.serving.ids import OnNote, find_known, ignore_note
from ld4mrec_cli.serving.lists import RecommendationList, SimilarItems, make_lists, make_similar
from ld4mrec_cli.serving.reasons import Explainer
from ld4mrec_cli.serving.requests import Pairs, Requests, for_histories, for_known_users
from ld4mrec_cli.serving.similar import rank_similar
from ld4mrec_cli.utils.device import resolve_device
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import UserError


class Recommender:
    """Serves the model of a run: known users by id, new users by their history.

    What is known of a user is what the model reads, and is not recommended again. Models that
    score training users alone (``ModelSpec.scores_new_users``) do not read it, but leave it out,
    too.
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
        """Known interactions ``(n_users, n_items)``: the histories of the users.

        The entries are 1, or weights where the model reads them: 1 is the mean; old ones may fade.
        """
        return self.catalog.known

    @property
    def filters(self) -> Filters:
        """Filters that allow every item; their methods narrow them."""
        return Filters(self.catalog)

    @cached_property
    def popularity(self) -> Popularity:
        """The model that ranks for histories to which the run's model relates no item."""
        return Popularity(self.catalog.popularity)

    @cached_property
    def similarity(self) -> Model:
        """Scores a row of one item by the similarity to it. Raises UserError for popularity."""
        return self.scorer.item_similarity()

    def recommend(
        self,
        user: str | None = None,
        history: Sequence[str] | None = None,
        k: int = 20,
        *,
        include_seen: bool = False,
        filters: Filters | None = None,
        reasons: int = 0,
    ) -> RecommendationList:
        """Recommend ``k`` items to a known ``user`` or for a ``history`` of item ids.

        Items of a ``history`` have the mean weight, where the model reads weights. They stand in
        the order of time, the last one is the latest, where the run counts recent items more.

        With ``reasons``, each entry names that many items of the history that spoke most for it.

        Raises:
            UserError: not exactly one of ``user`` and ``history`` is given, or the model has no
                reasons.
            UnknownIdError: the dataset does not know an id.
        """
        if (user is None) == (history is None):
            raise UserError("recommend needs either a user or a history")
        if history is not None:
            return self.for_history(
                history, k, include_seen=include_seen, filters=filters, reasons=reasons
            )
        lists = self.for_users(
            [str(user)], k, include_seen=include_seen, filters=filters, reasons=reasons
        )
        return next(lists)

    def for_users(
        self,
        users: Sequence[str],
        k: int,
        *,
        include_seen: bool = False,
        filters: Filters | None = None,
        reasons: int = 0,
        batch_size: int = 1024,
        group: Group = SINGLE_PROCESS,
    ) -> Iterator[RecommendationList]:
        """Recommend ``k`` items to each known user, in the order of ``users``.

        Processes in a ``group`` call this with the same arguments and all exhaust the iterator,
        which gives the lists to the main process and nothing to the others.

        Raises:
            UnknownIdError: at the call, for a user that the dataset does not know.
            UserError: at the call, if the filters leave no item.
        """
        requests = for_known_users(self.catalog, users)
        return self._lists(requests, k, include_seen, filters, reasons, batch_size, group)

    def for_history(
        self,
        items: Sequence[str],
        k: int,
        *,
        include_seen: bool = False,
        filters: Filters | None = None,
        reasons: int = 0,
    ) -> RecommendationList:
        """Recommend ``k`` items to a user who interacted with ``items`` (raw ids), the latest last.

        The user need not be in the training data.

        Raises:
            UnknownIdError: an item that the dataset does not know.
            UserError: the model scores its training users alone.
        """
        indices = np.array([self.items.index(item) for item in items], dtype=np.int64)
        pairs = Pairs([""] * len(items), items)
        row = pairs.matrix(indices, len(self.items), self.catalog.row_values)
        row.resize(1, len(self.items))  # a row for an empty history, too
        requests = Requests([None], np.array([UNKNOWN]), self.known, row)
        self._check_new_users(requests)
        return next(self._lists(requests, k, include_seen, filters, reasons, 1, SINGLE_PROCESS))

    def for_histories(
        self,
        histories: Mapping[str, Sequence[str]] | Pairs,
        k: int,
        *,
        skip_unknown: bool = False,
        include_seen: bool = False,
        filters: Filters | None = None,
        reasons: int = 0,
        batch_size: int = 1024,
        on_note: OnNote = ignore_note,
        group: Group = SINGLE_PROCESS,
    ) -> Iterator[RecommendationList]:
        """Recommend ``k`` items for each of many histories, in their order.

        The items of a known user are added to what is known of that user. A history of which
        nothing is left gets the most popular items.

        Args:
            histories: items by user id, the latest last, or pairs of them.
            k: length of the lists.
            skip_unknown: leave unknown items out, and new users of a model that cannot score them.
            include_seen: also recommend items of the history.
            filters: items that may be recommended; None: all.
            reasons: items of the history that each entry names, as in :meth:`recommend`.
            batch_size: histories that are scored at a time.
            on_note: gets a line on what was left out.
            group: as for :meth:`for_users`.

        Raises:
            UnknownIdError: at the call, for unknown items, unless they are skipped.
            UserError: at the call, if the model scores its training users alone, or the filters
                leave no item.
        """
        if isinstance(histories, Pairs):
            pairs, empty = histories, []
        else:
            users = [user for user, items in histories.items() for _ in items]
            pairs = Pairs(users, [item for items in histories.values() for item in items])
            empty = [user for user, items in histories.items() if not items]
        requests = for_histories(
            self.catalog, pairs, empty, skip_unknown=skip_unknown, on_note=on_note
        )
        requests = self._check_new_users(requests, skip=skip_unknown, on_note=on_note)
        return self._lists(requests, k, include_seen, filters, reasons, batch_size, group)

    def for_candidates(
        self,
        pairs: Pairs,
        k: int | None = None,
        *,
        skip_unknown: bool = False,
        filters: Filters | None = None,
        reasons: int = 0,
        batch_size: int = 1024,
        on_note: OnNote = ignore_note,
        group: Group = SINGLE_PROCESS,
    ) -> Iterator[RecommendationList]:
        """Score given pairs of known users and items, and rank them for each user.

        Items that a user has had are ranked, too, where they are given.

        Args:
            pairs: the pairs.
            k: length of the lists; None: all items of a user.
            skip_unknown: leave unknown users and items out.
            filters: items that may be listed; None: all.
            reasons: items of the history that each entry names, as in :meth:`recommend`.
            batch_size: users that are scored at a time.
            on_note: gets a line on what was left out.
            group: as for :meth:`for_users`.

        Raises:
            UnknownIdError: at the call, for unknown ids, unless they are skipped.
        """
        explain = self._explainer(reasons)
        notes: list[str] = []
        items, users = (
            find_known(raw, ids, skip_unknown=skip_unknown, on_note=notes.append, where=pairs.where)
            for raw, ids in ((pairs.items, self.items), (pairs.names, self.users))
        )
        chosen = self.filters if filters is None else filters
        chosen.check_any_left()
        matrix = chosen.keep_pairs(pairs.matrix(items, len(self.items)), pairs.names)
        kept = np.flatnonzero((users != UNKNOWN) & (np.diff(matrix.indptr) > 0))
        if not len(kept):
            raise UserError("no pair of a known user and item is left", where=pairs.where)
        for note in notes:
            on_note(note)
        requests = Requests([pairs.names[at] for at in kept], users[kept], self.known)
        ranked = rank_candidates(self.scorer, requests, matrix[kept], k, batch_size, group, explain)
        return (
            one
            for names, items, scores, found in ranked
            for one in make_lists(self.catalog, names, items, scores, reasons=found)
        )

    def similar(self, item: str, k: int = 20, *, filters: Filters | None = None) -> SimilarItems:
        """The ``k`` items most similar to ``item``, without itself.

        Raises:
            UnknownIdError: the dataset does not know the item.
            UserError: the model relates no item to another, or the filters leave no item.
        """
        return next(self.for_items([item], k, filters=filters))

    def for_items(
        self,
        items: Sequence[str],
        k: int,
        *,
        filters: Filters | None = None,
        batch_size: int = 1024,
    ) -> Iterator[SimilarItems]:
        """The ``k`` items most similar to each item, in the order of ``items``.

        What similarity is, is a matter of the model (docs/production.md). Filters of some users
        are not applied.

        Raises:
            UnknownIdError: at the call, for an item that the dataset does not know.
            UserError: at the call, see :meth:`similar`.
        """
        queries = np.array([self.items.index(item) for item in items], dtype=np.int64)
        chosen = self.filters if filters is None else filters
        chosen.check_any_left()
        n_items, allowed = len(self.items), chosen.allowed
        ranked = rank_similar(self.similarity, queries, n_items, k, batch_size, allowed)
        return (one for batch in ranked for one in make_similar(self.catalog, *batch))

    def _check_new_users(
        self, requests: Requests, *, skip: bool = False, on_note: OnNote = ignore_note
    ) -> Requests:
        """The requests that the model can score. Raises UserError unless the others are skipped."""
        is_new = requests.users == UNKNOWN
        model = self.run.manifest.model
        if MODELS[model].scores_new_users or not is_new.any():
            return requests
        if not skip or is_new.all():
            raise no_new_users(model)
        on_note(f"{model} {NO_NEW_USERS}: {int(is_new.sum()):,} new users are skipped")
        return requests.select(np.flatnonzero(~is_new))

    def _lists(
        self,
        requests: Requests,
        k: int,
        include_seen: bool,
        filters: Filters | None,
        reasons: int,
        batch_size: int,
        group: Group,
    ) -> Iterator[RecommendationList]:
        chosen = self.filters if filters is None else filters
        chosen.check_any_left()
        explain = self._explainer(reasons)
        return self._iter_lists(requests, k, include_seen, chosen, explain, batch_size, group)

    def _explainer(self, width: int) -> Explainer | None:
        """Finds ``width`` reasons; None for 0. Raises UserError where the model has none."""
        if not width:
            return None
        self.scorer.check_shares()
        return Explainer(self.scorer, width)

    def _iter_lists(
        self,
        requests: Requests,
        k: int,
        include_seen: bool,
        filters: Filters,
        explain: Explainer | None,
        batch_size: int,
        group: Group,
    ) -> Iterator[RecommendationList]:
        for batch in batches(np.arange(len(requests)), batch_size * group.size):
            shard = batch[slice(*group.shard_bounds(len(batch)))]
            rows, sizes = requests.rows(shard), group.shard_sizes(len(batch))
            denied = filters.denied_of([requests.names[at] for at in shard])
            exclude = _merge(None if include_seen else rows, denied)
            users = requests.users[shard]
            items, scores, is_popular = self._rank(rows, exclude, k, users, filters.allowed)
            found = None
            if explain is not None:
                explained = np.where(is_popular[:, None], -1, items)  # they have other scores
                found = explain(rows, explained, group, sizes)
            items, scores, is_popular = (
                group.gather_array(part, sizes) for part in (items, scores, is_popular)
            )
            if group.is_main_process:
                names = [requests.names[at] for at in batch]
                yield from make_lists(self.catalog, names, items, scores, is_popular, found)

    def _falls_back(self, users: np.ndarray) -> np.ndarray:
        """For whom popular items are listed where the model knows nothing ``(n,)`` bool.

        Not for known users with the training split alone: that is what ``evaluate`` measures.
        """
        return (users == UNKNOWN) | (self.catalog.splits != "train")

    def _rank(
        self,
        rows: csr_matrix,
        exclude: csr_matrix | None,
        k: int,
        users: np.ndarray,
        allowed: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """:func:`rank`, but the most popular items where there is nothing to start from.

        That is where all scores of a row are 0, so that its ranking would be the order of the
        catalog, and where a new user has no history. Such entries have the score 0.

        Returns:
            items and scores ``(n, depth)``, and which lists are of popular items ``(n,)`` bool.
        """
        is_new = users == UNKNOWN
        items, scores = rank(
            self.scorer, rows, exclude, k, None if is_new.any() else users, allowed
        )
        is_empty = is_new & (np.diff(rows.indptr) == 0)
        is_popular = is_empty | (_is_all_zero(items, scores) & self._falls_back(users))
        popular = np.flatnonzero(is_popular)
        if len(popular):
            excluded = None if exclude is None else exclude[popular]
            items[popular], _ = rank(self.popularity, rows[popular], excluded, k, allowed=allowed)
            scores[popular] = 0.0
        return items, scores, is_popular & (items >= 0).any(axis=1)


def _merge(first: csr_matrix | None, second: csr_matrix | None) -> csr_matrix | None:
    """The entries of either matrix ``(n, n_items)``."""
    if first is None or second is None:
        return second if first is None else first
    return csr_matrix(first + second)


def _is_all_zero(items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Whether all scores of a list are 0, ``(n,)``, of ``items`` and ``scores`` ``(n, depth)``."""
    is_entry = items >= 0
    return is_entry.any(axis=1) & ((scores == 0.0) | ~is_entry).all(axis=1)
