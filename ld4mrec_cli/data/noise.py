"""Noise injection into training interactions, as pure functions of arrays and a generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

NoiseType = Literal["random", "popular", "drop", "flip"]
_ROUNDS = 200
"""Rounds of drawing at random, after which the few interactions still without an item get a free one."""


@dataclass(frozen=True)
class Noise:
    """What injection changes."""

    removed: np.ndarray
    """Indices of training interactions that go, ascending."""
    added_users: np.ndarray
    """Users of the interactions that come, ``(n_added,)``."""
    added_items: np.ndarray
    """Items of the interactions that come, ``(n_added,)``."""


class TooMuchNoise(ValueError):
    """The ratio asks for more than the data can give."""


def inject(
    kind: NoiseType,
    ratio: float,
    users: np.ndarray,
    items: np.ndarray,
    n_items: int,
    held_out: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> Noise:
    """Decide which training interactions to add and remove.

    ``round(ratio · n)`` training interactions are drawn. ``drop`` removes them, ``random`` and
    ``popular`` add for the user of each one an item that the user has in no split (uniform, or in
    proportion to training popularity: an item without any only once the user has all others), ``flip``
    replaces each by a uniform such item. A user keeps at least one training interaction.

    Args:
        users, items: training interactions ``(n,)``, each pair once.
        held_out: users and items of the other splits, which are never added.

    Raises:
        TooMuchNoise: not so many interactions can be removed, or added to these users.
    """
    if ratio > n_items:  # no user has that many items; also keeps the arrays below in bounds
        raise TooMuchNoise(f"there are {n_items} items")
    count = round(ratio * len(users))
    none = np.empty(0, dtype=np.int64)
    if kind in ("drop", "flip"):
        removed = _removable(users, count, rng)
        owners = users[removed] if kind == "flip" else none
    else:
        removed = none
        owners = users[_draw(len(users), count, rng)]
    _check_room(owners, np.concatenate([users, held_out[0]]), n_items)
    weights = (
        np.bincount(items, minlength=n_items).astype(np.float64)
        if kind == "popular"
        else np.ones(n_items)
    )
    taken = np.concatenate([users * n_items + items, held_out[0] * n_items + held_out[1]])
    added = _new_items(owners, taken, weights, rng)
    return Noise(removed, owners, added)


def _check_room(owners: np.ndarray, users_of_taken: np.ndarray, n_items: int) -> None:
    """Raise TooMuchNoise unless every user has as many free items as are to be added."""
    n_users = int(max(owners.max(initial=-1), users_of_taken.max(initial=-1))) + 1
    wanted = np.bincount(owners, minlength=n_users)
    free = n_items - np.bincount(users_of_taken, minlength=n_users)
    short = np.flatnonzero(wanted > free)
    if len(short):
        raise TooMuchNoise(
            f"{wanted[short[0]]} new items for a user who has all but {free[short[0]]}"
        )


def _draw(n: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` of ``n`` indices evenly: every index ``count // n`` times, the rest without repetition."""
    whole = np.tile(np.arange(n), count // n)
    return np.concatenate([whole, rng.permutation(n)[: count % n]])


def _removable(users: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(len(users))
    _, first = np.unique(users[order], return_index=True)
    free = np.delete(order, first)
    if count > len(free):
        raise TooMuchNoise(
            f"{count} interactions cannot be removed: {len(free)} can, if each user keeps one"
        )
    return np.sort(free[:count])


def _new_items(
    owners: np.ndarray, taken: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    n_items = len(weights)
    cumulative = np.cumsum(weights) / weights.sum()
    items = np.full(len(owners), -1, dtype=np.int64)
    taken = np.sort(taken)
    for _ in range(_ROUNDS):
        open_ = np.flatnonzero(items < 0)
        if not len(open_):
            return items
        drawn = np.minimum(
            np.searchsorted(cumulative, rng.random(len(open_)), side="right"), n_items - 1
        )
        keys = owners[open_] * n_items + drawn
        _, first = np.unique(keys, return_index=True)
        new = first[~np.isin(keys[first], taken, assume_unique=True)]
        items[open_[new]] = drawn[new]
        taken = np.sort(np.concatenate([taken, keys[new]]))
    open_ = np.flatnonzero(items < 0)
    items[open_] = _drawn_from_the_free(owners[open_], taken, weights, rng)
    return items


def _drawn_from_the_free(
    owners: np.ndarray, taken: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw a new item for each owner among the items that the owner has not, by weight.

    For the few that chance draws did not serve: their users have nearly every item of weight. Taking the
    smallest of exponential times with the weights as rates is to draw one after the other by weight; items
    of no weight come last, in random order.

    Args:
        taken: sorted keys ``user · n_items + item``; every owner has enough free items.
    """
    n_items = len(weights)
    items = np.empty(len(owners), dtype=np.int64)
    for owner in np.unique(owners):
        start, end = np.searchsorted(taken, [owner * n_items, (owner + 1) * n_items])
        free = np.delete(np.arange(n_items), taken[start:end] - owner * n_items)
        with np.errstate(divide="ignore"):
            times = rng.exponential(size=len(free)) / weights[free]
        order = np.lexsort((rng.random(len(free)), times))
        places = np.flatnonzero(owners == owner)
        items[places] = free[order[: len(places)]]
    return items
