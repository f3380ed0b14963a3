"""Whom lists are made for: known users, histories, and pairs of users and items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import UNKNOWN
from ld4mrec_cli.data.row_values import PLAIN, RowValues, add_newer, count_later
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
    values: RowValues = PLAIN
    """What the entries are: new interactions are later than the known ones."""

    def __len__(self) -> int:
        return len(self.users)

    def select(self, at: np.ndarray) -> Requests:
        """Some of the requests ``(m,)``."""
        new = None if self.new_rows is None else self.new_rows[at]
        return Requests([self.names[n] for n in at], self.users[at], self.known, new, self.values)

    def rows(self, at: np.ndarray) -> csr_matrix:
        """Known and new interactions of the requests ``at`` ``(m,)``: ``(m, n_items)``.

        Of an item that is both, the larger entry counts.
        """
        users = self.users[at]
        if self.new_rows is None:
            return self.known[users]
        is_known = np.flatnonzero(users != UNKNOWN)
        entries = np.ones(len(is_known), dtype=np.float32), (is_known, users[is_known])
        selection = csr_matrix(entries, shape=(len(at), self.known.shape[0]))
        return add_newer(csr_matrix(selection @ self.known), self.new_rows[at], self.values)


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
    times: pl.Series | None = None
    """Time of each pair ``(n,)``; None: they stand in the order of time."""

    def __post_init__(self) -> None:
        if self.weights is not None:
            check_weights(self.weights, self.where)

    @cached_property
    def names(self) -> list[str]:
        """The users, each once, in order."""
        return list(dict.fromkeys(self.users))

    def matrix(self, items: np.ndarray, n_items: int, row_values: RowValues = PLAIN) -> csr_matrix:
        """Matrix ``(n_names, n_items)`` of the pairs whose item index is not UNKNOWN.

        Its entries are 1, or as ``row_values`` says. Of repeated pairs the largest weight and the
        latest time count.
        """
        row_of = {name: row for row, name in enumerate(self.names)}
        rows = np.fromiter(
            (row_of[user] for user in self.users), dtype=np.int64, count=len(self.users)
        )
        is_kept = items != UNKNOWN
        values = np.ones(len(items))
        if self.weights is not None:
            is_kept &= self.weights > 0.0
            mean = row_values.mean_weight
            values = values if mean is None else self.weights / mean
        table = pl.DataFrame({"row": rows, "item": items, "value": values, "time": self._order})
        largest = table.filter(pl.Series(is_kept)).group_by("row", "item").max().sort("row", "item")
        at = largest["row"].to_numpy(), largest["item"].to_numpy()
        recency = row_values.decay(count_later(at[0], largest["time"]))
        entries = (largest["value"].to_numpy() * recency).astype(np.float32)
        return csr_matrix((entries, at), shape=(len(self.names), n_items))

    @property
    def _order(self) -> pl.Series:
        """A number for each pair ``(n,)``, larger for later ones; null where a time is missing."""
        return pl.Series(range(len(self.users))) if self.times is None else self.times


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
        pairs: user and item of each new interaction; they are later than the known ones.
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
    new = pairs.matrix(found, len(catalog.items), catalog.row_values)
    new.resize(len(names), new.shape[1])
    return Requests(names, catalog.users.find(names), catalog.known, new, catalog.row_values)
