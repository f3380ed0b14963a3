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


@dataclass(frozen=True)
class SimilarItems:
    """Items similar to one, the most similar first; ``score`` is the similarity."""

    item: str
    title: str | None
    items: list[RecommendedItem]


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
    for n, user in enumerate(users):
        entries = _entries(catalog, items[n], scores[n])
        yield RecommendationList(user, entries, is_popular is not None and bool(is_popular[n]))


def make_similar(
    catalog: Catalog, queries: np.ndarray, items: np.ndarray, scores: np.ndarray
) -> Iterator[SimilarItems]:
    """Items similar to each of ``queries`` ``(n,)``, in raw ids; arrays as of make_lists."""
    titles = catalog.titles
    for n, query in enumerate(queries.tolist()):
        entries = _entries(catalog, items[n], scores[n])
        yield SimilarItems(catalog.items[query], titles[query] if titles else None, entries)


def _entries(catalog: Catalog, items: np.ndarray, scores: np.ndarray) -> list[RecommendedItem]:
    titles = catalog.titles
    return [
        RecommendedItem(catalog.items[item], score, titles[item] if titles else None)
        for item, score in zip(items.tolist(), scores.tolist(), strict=True)
        if item >= 0
    ]
