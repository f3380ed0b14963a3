"""Search of items by title or id, and of users by id."""

from __future__ import annotations

import unicodedata

import numpy as np
import polars as pl

from ld4mrec_cli.runs.catalog import Catalog

MAX_WORDS = 8
"""Words of a query that are looked at."""


def fold(text: str) -> str:
    """``text`` without case and accents, so that "stuhle" finds "Stühle"."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


class SearchIndex:
    """Texts of items and users that are searched."""

    def __init__(self, catalog: Catalog, popularity: np.ndarray) -> None:
        """``popularity``: users of each item ``(n_items,)``; the order of what is found."""
        titles = catalog.titles or [None] * len(catalog.items)
        texts = [
            fold(f"{title or ''}\n{item}")
            for title, item in zip(titles, catalog.items.ids, strict=True)
        ]
        self._items = pl.Series(texts, dtype=pl.String)
        self._users = pl.Series([fold(user) for user in catalog.users.ids], dtype=pl.String)
        self._popularity = popularity

    def find_items(self, query: str, limit: int) -> list[int]:
        """Indices of items that have all words of a query.

        First those that begin with the query, then the most popular ones.
        """
        found = _match(self._items, query)
        text = fold(query).strip()
        is_start = self._items.gather(found).str.starts_with(text).to_numpy()
        order = np.lexsort((found, -self._popularity[found], ~is_start))
        return found[order][:limit].tolist()

    def find_users(self, query: str, limit: int) -> list[int]:
        """Indices of users whose id has all words of a query: first those that begin with it."""
        found = _match(self._users, query)
        texts = self._users.gather(found)
        is_start = texts.str.starts_with(fold(query).strip()).to_numpy()
        order = np.lexsort((found, texts.str.len_chars().to_numpy(), ~is_start))
        return found[order][:limit].tolist()


def _match(texts: pl.Series, query: str) -> np.ndarray:
    """Indices of the texts that have all words of a query, ascending int64."""
    is_match = pl.repeat(True, len(texts), eager=True)
    for word in fold(query).split()[:MAX_WORDS]:
        is_match &= texts.str.contains(word, literal=True)
    return is_match.to_numpy().nonzero()[0].astype(np.int64)
