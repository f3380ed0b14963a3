"""Ranked lists of users as arrays, of any length, for lists that another tool made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class GivenLists:
    """A ranked list of each user, which may be empty."""

    starts: np.ndarray
    """Where the entries of each user start, and the end of the last ``(n_users + 1,)`` int64."""
    items: np.ndarray
    """The entries, user by user, the best first ``(n_entries,)`` int64."""

    @classmethod
    def of(cls, users: np.ndarray, items: np.ndarray, n_users: int) -> GivenLists:
        """From user and item of each entry ``(n,)``; a user's entries stand in their order."""
        order = np.argsort(users, kind="stable")
        counts = np.bincount(users, minlength=n_users)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(starts, items[order])

    @property
    def lengths(self) -> np.ndarray:
        """Entries of each user ``(n_users,)``."""
        return np.diff(self.starts)

    @property
    def users(self) -> np.ndarray:
        """User of each entry ``(n_entries,)``."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)

    def without(self, exclude: csr_matrix) -> GivenLists:
        """The lists without the pairs of ``exclude`` ``(n_users, n_items)``; the others move up."""
        if not len(self.items):
            return self
        n_items = exclude.shape[1]
        rows = np.repeat(np.arange(exclude.shape[0], dtype=np.int64), np.diff(exclude.indptr))
        is_excluded = np.isin(self.users * n_items + self.items, rows * n_items + exclude.indices)
        users = self.users[~is_excluded]
        return GivenLists.of(users, self.items[~is_excluded], len(self.starts) - 1)

    def take(self, users: np.ndarray, depth: int) -> np.ndarray:
        """First places of the lists of ``users`` ``(n,)``: ``(n, depth)``, -1 past the end."""
        lengths = np.minimum(self.lengths[users], depth)
        width = int(lengths.max(initial=0))
        places = np.arange(width)
        is_there = places < lengths[:, None]
        at = np.where(is_there, self.starts[users][:, None] + places, 0)
        items = self.items[at] if len(self.items) else np.zeros(at.shape, dtype=np.int64)
        lists = np.full((len(users), max(width, 1)), -1, dtype=np.int64)
        lists[:, :width] = np.where(is_there, items, -1)
        return lists
