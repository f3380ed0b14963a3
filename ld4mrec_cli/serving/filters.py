"""Which items may be recommended: to anyone, and to whom not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import UNKNOWN
from ld4mrec_cli.data.item_columns import example_values, match_values
from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.serving.ids import OnNote, ignore_note
from ld4mrec_cli.utils.errors import UserError, nearest
from ld4mrec_cli.utils.text import printable


@dataclass(frozen=True)
class Filters:
    """Filters of the items of a catalog; each method returns a narrower one."""

    catalog: Catalog
    allowed: np.ndarray | None = None
    """Items that may be recommended ``(m,)`` int64, ascending; None: all."""
    denied: csr_matrix | None = None
    """Items that a user must not get ``(n_listed + 1, n_items)``; the last row is empty."""
    denied_row: Mapping[str, int] = field(default_factory=dict)
    """Row of :attr:`denied` by raw user id."""

    def only(
        self,
        items: Sequence[str],
        on_note: OnNote = ignore_note,
        where: Path | None = None,
    ) -> Self:
        """Only these items, such as those in stock. Unknown ones are counted in a note.

        Raises:
            UserError: none of them is known; it names the file ``where`` they are from.
        """
        if not any(item in self.catalog.items for item in items):
            raise UserError(f"none of the {len(items):,} items is known", where=where)
        return self._restrict(self._find_items(items, on_note))

    def without(self, items: Sequence[str], on_note: OnNote = ignore_note) -> Self:
        """Without these items. Unknown ones are counted in a note."""
        denied = self._find_items(items, on_note)
        if not len(denied):
            return self
        allowed = np.arange(len(self.catalog.items)) if self.allowed is None else self.allowed
        return replace(self, allowed=np.setdiff1d(allowed, denied, assume_unique=True))

    def without_for(
        self, users: Sequence[str], items: Sequence[str], on_note: OnNote = ignore_note
    ) -> Self:
        """Without some items for some users: pairs of raw ids, of equal length.

        A user need not be in the dataset, as histories of new users have ids of their own.
        """
        indices = self.catalog.items.find(items)
        self._note_unknown(items, indices, on_note)
        names = {user: row for row, user in enumerate(dict.fromkeys(users))}
        rows = np.fromiter((names[user] for user in users), dtype=np.int64, count=len(users))
        is_known = indices != UNKNOWN
        at = rows[is_known], indices[is_known]
        shape = len(names) + 1, len(self.catalog.items)
        denied = csr_matrix((np.ones(len(at[0]), dtype=np.float32), at), shape=shape)
        return replace(self, denied=denied, denied_row=names)

    def where(self, values: Mapping[str, Sequence[str]]) -> Self:
        """Only items that have, in each column, one of the values.

        Raises:
            UserError: the item table has no such column, or no item has the values.
        """
        columns = self.catalog.item_columns
        is_match = pl.repeat(True, len(self.catalog.items), eager=True)
        for name, wanted in values.items():
            if name not in columns.columns:
                hint = nearest(name, columns.columns) or "The dataset has no columns of items"
                raise UserError(f"the items have no column '{printable(name)}'", hint=hint)
            matches = match_values(columns[name], wanted)
            if not matches.any():
                text = " or ".join(f"'{printable(value)}'" for value in wanted)
                hint = nearest(wanted[0], map(printable, example_values(columns[name])))
                what = f"no item has {text} in column '{printable(name)}'"
                raise UserError(what, hint=hint)
            is_match &= matches
        return self._restrict(is_match.to_numpy().nonzero()[0])

    def check_any_left(self) -> None:
        """Raise UserError where no item is left."""
        if self.allowed is not None and not len(self.allowed):
            raise UserError("the filters leave no item", hint="Loosen one of them")

    def denied_of(self, users: Sequence[str | None]) -> csr_matrix | None:
        """Items that each of some users must not get ``(n, n_items)``; None: no such filter."""
        if self.denied is None:
            return None
        none = self.denied.shape[0] - 1
        rows = [none if user is None else self.denied_row.get(user, none) for user in users]
        return self.denied[rows]

    def keep_pairs(self, pairs: csr_matrix, users: Sequence[str]) -> csr_matrix:
        """The pairs of users and items ``(n, n_items)`` that the filters allow."""
        kept = pairs
        denied = self.denied_of(users)
        if denied is not None:
            kept = kept - kept.multiply(denied)
        if self.allowed is not None:
            is_allowed = np.zeros(kept.shape[1], dtype=np.float32)
            is_allowed[self.allowed] = 1.0
            kept = kept.multiply(is_allowed)
        kept = csr_matrix(kept)
        kept.eliminate_zeros()
        kept.sort_indices()
        return kept

    def _find_items(self, items: Sequence[str], on_note: OnNote) -> np.ndarray:
        indices = self.catalog.items.find(items)
        self._note_unknown(items, indices, on_note)
        return np.unique(indices[indices != UNKNOWN])

    def _note_unknown(self, items: Sequence[str], indices: np.ndarray, on_note: OnNote) -> None:
        unknown = {items[at] for at in np.flatnonzero(indices == UNKNOWN).tolist()}
        if unknown:
            on_note(f"{len(unknown):,} of {len(set(items)):,} items are unknown and are ignored")

    def _restrict(self, items: np.ndarray) -> Self:
        allowed = items if self.allowed is None else np.intersect1d(self.allowed, items)
        return replace(self, allowed=allowed.astype(np.int64))
