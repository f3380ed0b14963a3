"""Ranked indices as lists in the user's own ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.serving.reasons import ReasonArrays


@dataclass(frozen=True)
class Reason:
    """An item of the history that a list was made from."""

    item: str
    title: str | None
    share: float
    """Its share in the score; the shares of the whole history add up to the score."""


@dataclass(frozen=True)
class RecommendedItem:
    """One entry of a list."""

    item: str
    score: float
    title: str | None
    reasons: tuple[Reason, ...] | None = None
    """Items of the history, the largest share first; None: not asked for."""


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
    reasons: ReasonArrays | None = None,
) -> Iterator[RecommendationList]:
    """Lists in raw ids.

    Args:
        catalog: the ids.
        users: raw id of each list, n of them.
        items: item indices ``(n, depth)``, -1 past the end of a list.
        scores: ``(n, depth)``.
        is_popular: which lists are the most popular items ``(n,)``; None: none of them.
        reasons: of the entries; None: not asked for.
    """
    for n, user in enumerate(users):
        entries = _entries(catalog, items[n], scores[n])
        if reasons is not None:
            of_entries = _reasons(catalog, reasons.items[n], reasons.shares[n])
            entries = [
                replace(entry, reasons=own)
                for entry, own in zip(entries, of_entries, strict=False)  # -1 past the end
            ]
        yield RecommendationList(user, entries, is_popular is not None and bool(is_popular[n]))


def make_similar(
    catalog: Catalog, queries: np.ndarray, items: np.ndarray, scores: np.ndarray
) -> Iterator[SimilarItems]:
    """Items similar to each of ``queries`` ``(n,)``, in raw ids; arrays as of make_lists."""
    titles = catalog.titles
    for n, query in enumerate(queries.tolist()):
        entries = _entries(catalog, items[n], scores[n])
        yield SimilarItems(catalog.items[query], titles[query] if titles else None, entries)


def _reasons(
    catalog: Catalog, items: np.ndarray, shares: np.ndarray
) -> Iterator[tuple[Reason, ...]]:
    """Reasons of each entry of a list, of arrays ``(depth, width)``."""
    titles = catalog.titles
    for row, values in zip(items.tolist(), shares.tolist(), strict=True):
        yield tuple(
            Reason(catalog.items[item], titles[item] if titles else None, share)
            for item, share in zip(row, values, strict=True)
            if item >= 0
        )


def _entries(catalog: Catalog, items: np.ndarray, scores: np.ndarray) -> list[RecommendedItem]:
    titles = catalog.titles
    return [
        RecommendedItem(catalog.items[item], score, titles[item] if titles else None)
        for item, score in zip(items.tolist(), scores.tolist(), strict=True)
        if item >= 0
    ]
