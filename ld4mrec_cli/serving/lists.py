"""Ranked indices as lists in the user's own ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ld4mrec_cli.runs.catalog import Catalog


@dataclass(frozen=True)
class RecommendedItem:
    """One entry of a list."""

    item: str
    score: float
    title: str | None


@dataclass(frozen=True)
class RecommendationList:
    """Ranked items for one user; ``user`` is None for a history without an id."""

    user: str | None
    items: list[RecommendedItem]
    is_popular: bool = False
    """The history is empty, or the model scores every item 0 for it: the most popular items."""


def make_lists(
    catalog: Catalog,
    users: Sequence[str | None],
    items: np.ndarray,
    scores: np.ndarray,
    is_popular: np.ndarray | None = None,
) -> Iterator[RecommendationList]:
    """Lists in raw ids.

    Args:
        catalog: the ids.
        users: raw id of each list, n of them.
        items: item indices ``(n, depth)``, -1 past the end of a list.
        scores: ``(n, depth)``.
        is_popular: which lists are the most popular items ``(n,)``; None: none of them.
    """
    titles = catalog.titles
    for n, user in enumerate(users):
        entries = [
            RecommendedItem(catalog.items[item], score, titles[item] if titles else None)
            for item, score in zip(items[n].tolist(), scores[n].tolist(), strict=True)
            if item >= 0
        ]
        yield RecommendationList(user, entries, is_popular is not None and bool(is_popular[n]))
