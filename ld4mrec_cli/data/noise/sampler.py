"""Random choices that noise types are made of."""

from __future__ import annotations

import numpy as np

_MAX_ROUNDS = 200
"""Rounds of rejection sampling. The few interactions that remain get one of the free items."""


class TooMuchNoise(ValueError):
    """The data cannot give as much noise as requested."""


class NoiseSampler:
    """Samples training interactions to remove, and new items for users.

    Attributes:
        users, items: training interactions ``(n,)``, each pair once.
        n_items: number of items in the catalog.
        item_counts: training interactions of each item, ``(n_items,)``.
    """

    def __init__(
        self,
        users: np.ndarray,
        items: np.ndarray,
        n_items: int,
        held_out: tuple[np.ndarray, np.ndarray],
        rng: np.random.Generator,
    ) -> None:
        """``held_out`` are users and items of the other splits; these pairs are never added."""
        self.users = users
        self.items = items
        self.n_items = n_items
        self.item_counts = np.bincount(items, minlength=n_items)
        self._interacting_users = np.concatenate([users, held_out[0]])
        self._pairs = np.concatenate([users * n_items + items, held_out[0] * n_items + held_out[1]])
        self._rng = rng

    def sample_users(self, n: int) -> np.ndarray:
        """Sample the users ``(n,)`` of training interactions.

        Each interaction is used ``n // len(users)`` times; the rest is sampled without replacement.
        """
        n_train = len(self.users)
        repeats = np.tile(np.arange(n_train), n // n_train)
        rest = self._rng.permutation(n_train)[: n % n_train]
        return self.users[np.concatenate([repeats, rest])]

    def sample_removable(self, n: int) -> np.ndarray:
        """Sample ``n`` training interactions, so that each user keeps at least one.

        Returns:
            Their indices ``(n,)``, ascending.

        Raises:
            TooMuchNoise: fewer interactions can be removed.
        """
        order = self._rng.permutation(len(self.users))
        _, first = np.unique(self.users[order], return_index=True)
        removable = np.delete(order, first)
        if n > len(removable):
            raise TooMuchNoise(
                f"{n} interactions cannot be removed: {len(removable)} can, if each user keeps one"
            )
        return np.sort(removable[:n])

    def sample_new_items(self, users: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Sample an item for each of the ``users`` ``(n,)`` that the user has in no split.

        Args:
            users: the users; one that occurs twice gets two different items.
            weights: probability of each item up to a factor, ``(n_items,)``; uniform where None.

        Raises:
            TooMuchNoise: a user has fewer free items.
        """
        self._check_free_items(users)
        weights = np.ones(self.n_items) if weights is None else weights.astype(np.float64)
        cumulative = np.cumsum(weights) / weights.sum()
        items = np.full(len(users), -1, dtype=np.int64)
        pairs = np.sort(self._pairs)
        for _ in range(_MAX_ROUNDS):
            missing = np.flatnonzero(items < 0)
            if not len(missing):
                return items
            positions = np.searchsorted(cumulative, self._rng.random(len(missing)), side="right")
            candidates = np.minimum(positions, self.n_items - 1)
            keys = users[missing] * self.n_items + candidates
            _, first = np.unique(keys, return_index=True)
            new = first[~np.isin(keys[first], pairs, assume_unique=True)]
            items[missing[new]] = candidates[new]
            pairs = np.sort(np.concatenate([pairs, keys[new]]))
        missing = np.flatnonzero(items < 0)
        items[missing] = sample_free_items(users[missing], pairs, weights, self._rng)
        return items

    def _check_free_items(self, users: np.ndarray) -> None:
        """Raise TooMuchNoise unless every user has a free item for each occurrence in ``users``."""
        n_users = int(max(users.max(initial=-1), self._interacting_users.max(initial=-1))) + 1
        n_new = np.bincount(users, minlength=n_users)
        n_free = self.n_items - np.bincount(self._interacting_users, minlength=n_users)
        short = np.flatnonzero(n_new > n_free)
        if len(short):
            raise TooMuchNoise(
                f"{n_new[short[0]]} new items for a user who has all but {n_free[short[0]]}"
            )


def sample_free_items(
    users: np.ndarray, pairs: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Sample a new item for each user among the items that the user does not have, by weight.

    For the few users who have nearly every item of weight, where rejection sampling is slow. The
    order of exponential times with the weights as rates is weighted sampling without replacement
    (Efraimidis and Spirakis, 2006). Items of weight 0 come last, in random order.

    Args:
        users: the users ``(n,)``; each has enough free items.
        pairs: sorted keys ``user * n_items + item`` of the interactions.
        weights: weight of each item, ``(n_items,)``.
        rng: source of randomness.
    """
    n_items = len(weights)
    items = np.empty(len(users), dtype=np.int64)
    for user in np.unique(users):
        start, end = np.searchsorted(pairs, [user * n_items, (user + 1) * n_items])
        free = np.delete(np.arange(n_items), pairs[start:end] - user * n_items)
        with np.errstate(divide="ignore"):
            times = rng.exponential(size=len(free)) / weights[free]
        order = np.lexsort((rng.random(len(free)), times))
        rows = np.flatnonzero(users == user)
        items[rows] = free[order[: len(rows)]]
    return items
