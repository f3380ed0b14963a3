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


@dataclass(frozen=True)
class Requests:
    """n users or histories that get a list each."""

    names: Sequence[str | None]
    """Raw id of each."""
    users: np.ndarray
    """User index of each ``(n,)`` int64; UNKNOWN for a user who is not in the dataset."""
    known: csr_matrix
    """Known interactions of the catalog ``(n_users, n_items)``."""
    new_rows: csr_matrix | None = None
    """Interactions that the dataset does not have ``(n, n_items)``; None: there are none."""

    def __len__(self) -> int:
        return len(self.users)

    def select(self, at: np.ndarray) -> Requests:
        """Some of the requests ``(m,)``."""
        new = None if self.new_rows is None else self.new_rows[at]
        return Requests([self.names[n] for n in at], self.users[at], self.known, new)

    def rows(self, at: np.ndarray) -> csr_matrix:
        """Known and new interactions of the requests ``at`` ``(m,)``: ``(m, n_items)``."""
        users = self.users[at]
        if self.new_rows is None:
            return self.known[users]
        is_known = np.flatnonzero(users != UNKNOWN)
        entries = np.ones(len(is_known), dtype=np.float32), (is_known, users[is_known])
        selection = csr_matrix(entries, shape=(len(at), self.known.shape[0]))
        rows = csr_matrix(selection @ self.known + self.new_rows[at])
        rows.data[:] = 1.0
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

    @cached_property
    def names(self) -> list[str]:
        """The users, each once, in order."""
        return list(dict.fromkeys(self.users))

    def matrix(self, items: np.ndarray, n_items: int) -> csr_matrix:
        """Binary matrix ``(n_names, n_items)`` of the pairs whose item index is not UNKNOWN."""
        row_of = {name: row for row, name in enumerate(self.names)}
        rows = np.fromiter(
            (row_of[user] for user in self.users), dtype=np.int64, count=len(self.users)
        )
        is_known = items != UNKNOWN
        at = rows[is_known], items[is_known]
        entries = np.ones(len(at[0]), dtype=np.float32)
        matrix = csr_matrix((entries, at), shape=(len(self.names), n_items))
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix


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
    new = pairs.matrix(found, len(catalog.items))
    new.resize(len(names), new.shape[1])
    return Requests(names, catalog.users.find(names), catalog.known, new)
