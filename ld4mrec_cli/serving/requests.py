"""Whom lists are made for: known users, histories, and pairs of users and items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import UNKNOWN
from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.serving.ids import OnNote, find_known, ignore_note
from ld4mrec_cli.settings.data import MAX_WEIGHT
from ld4mrec_cli.utils.errors import UserError


@dataclass(frozen=True)
class Requests:
    """n users or histories that get a list each."""

    names: Sequence[str | None]
    """Raw id of each."""
    users: np.ndarray
    """User index of each ``(n,)`` int64; UNKNOWN for a user who is not in the dataset."""
    known: csr_matrix
    """Known interactions of the catalog ``(n_users, n_items)``; the entries may be weights."""
    new_rows: csr_matrix | None = None
    """Interactions that the dataset does not have ``(n, n_items)``; None: there are none."""

    def __len__(self) -> int:
        return len(self.users)

    def select(self, at: np.ndarray) -> Requests:
        """Some of the requests ``(m,)``."""
        new = None if self.new_rows is None else self.new_rows[at]
        return Requests([self.names[n] for n in at], self.users[at], self.known, new)

    def rows(self, at: np.ndarray) -> csr_matrix:
        """Known and new interactions of the requests ``at`` ``(m,)``: ``(m, n_items)``.

        Of an item that is both, the larger weight counts.
        """
        users = self.users[at]
        if self.new_rows is None:
            return self.known[users]
        is_known = np.flatnonzero(users != UNKNOWN)
        entries = np.ones(len(is_known), dtype=np.float32), (is_known, users[is_known])
        selection = csr_matrix(entries, shape=(len(at), self.known.shape[0]))
        rows = csr_matrix((selection @ self.known).maximum(self.new_rows[at]))
        rows.sort_indices()
        return rows


def for_known_users(catalog: Catalog, users: Sequence[str]) -> Requests:
    """Requests of users of the dataset, in their order. Raises UnknownIdError."""
    indices = np.fromiter(
        (catalog.users.index(user) for user in users), dtype=np.int64, count=len(users)
    )
    return Requests(users, indices, catalog.known)


@dataclass(frozen=True)
class Pairs:
    """Pairs of raw user and item ids, of equal length; a user may stand in many of them."""

    users: Sequence[str]
    items: Sequence[str]
    where: Path | None = None
    """The file that they are from, for messages."""
    weights: np.ndarray | None = None
    """Weight of each pair ``(n,)``, as in the dataset; 0 leaves it out. None: there are none."""

    def __post_init__(self) -> None:
        if self.weights is not None:
            check_weights(self.weights, self.where)

    @cached_property
    def names(self) -> list[str]:
        """The users, each once, in order."""
        return list(dict.fromkeys(self.users))

    def matrix(
        self, items: np.ndarray, n_items: int, mean_weight: float | None = None
    ) -> csr_matrix:
        """Matrix ``(n_names, n_items)`` of the pairs whose item index is not UNKNOWN.

        Its entries are 1. With ``mean_weight``, pairs that have weights have these over it, of
        repeated pairs the largest.
        """
        row_of = {name: row for row, name in enumerate(self.names)}
        rows = np.fromiter(
            (row_of[user] for user in self.users), dtype=np.int64, count=len(self.users)
        )
        is_kept = items != UNKNOWN
        values = np.ones(len(items))
        if self.weights is not None:
            is_kept &= self.weights > 0.0
            values = values if mean_weight is None else self.weights / mean_weight
        rows, columns, values = rows[is_kept], items[is_kept], values[is_kept]
        order = np.lexsort((-values, columns, rows))
        rows, columns, values = rows[order], columns[order], values[order]
        is_first = np.ones(len(rows), dtype=bool)
        is_first[1:] = (np.diff(rows) != 0) | (np.diff(columns) != 0)
        entries = values[is_first].astype(np.float32), (rows[is_first], columns[is_first])
        return csr_matrix(entries, shape=(len(self.names), n_items))


def check_weights(weights: np.ndarray, where: Path | None) -> None:
    """Raise UserError unless all weights ``(n,)`` are 0 or positive, and finite."""
    bad = np.flatnonzero(~((weights >= 0.0) & (weights <= MAX_WEIGHT)))
    if len(bad):
        what = f"row {bad[0] + 1}: the weight {weights[bad[0]]:g} is not a number from 0"
        raise UserError(what, where=where, hint="0 leaves the interaction out")


def for_histories(
    catalog: Catalog,
    pairs: Pairs,
    without_items: Sequence[str] = (),
    *,
    skip_unknown: bool = False,
    on_note: OnNote = ignore_note,
) -> Requests:
    """Requests of users with their new interactions; a known user's are added to the known ones.

    Args:
        catalog: ids and known interactions.
        pairs: user and item of each new interaction.
        without_items: further users, who have no new interaction.
        skip_unknown: leave unknown items out and say how many; else they are an error.
        on_note: gets that line.

    Raises:
        UnknownIdError: an item is unknown.
    """
    found = find_known(
        pairs.items, catalog.items, skip_unknown=skip_unknown, on_note=on_note, where=pairs.where
    )
    names = list(dict.fromkeys([*pairs.names, *without_items]))
    new = pairs.matrix(found, len(catalog.items), catalog.mean_weight)
    new.resize(len(names), new.shape[1])
    return Requests(names, catalog.users.find(names), catalog.known, new)
