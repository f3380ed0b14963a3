"""Random choices that noise types are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ld4mrec_cli.data.noise.neighbors import find_neighbors

N_NEAREST, N_NEIGHBORS = 10, 50
"""An item stands for its nearest ones; where the user has those, for its next neighbors."""
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
        read_content: Callable[[], np.ndarray] | None = None,
    ) -> None:
        """Args beside the attributes.

        held_out: users and items of the other splits; these pairs are never added.
        rng: source of randomness.
        read_content: gives the features of the items ``(n_items, dim)``.
        """
        self._read_content = read_content
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
        return self.users[self._sample_evenly(len(self.users), n)]

    def _sample_evenly(self, n_choices: int, n: int) -> np.ndarray:
        """Sample ``n`` of the numbers below ``n_choices``, each as often as any other."""
        repeats = np.tile(np.arange(n_choices), n // n_choices)
        rest = self._rng.permutation(n_choices)[: n % n_choices]
        return np.concatenate([repeats, rest])

    def sample_similar_items(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample new items that are like one that the user has, by content.

        Interactions with an item that has content are sampled evenly. Each brings its user one of
        the items nearest to it that the user has in no split; one without such an item is sampled
        again.

        Returns:
            Users and items ``(n,)``.

        Raises:
            TooMuchNoise: the items have no content, or too few neighbors.
        """
        content = (
            np.zeros((self.n_items, 0)) if self._read_content is None else self._read_content()
        )
        described = np.flatnonzero(np.any(content[self.items] != 0.0, axis=1))
        users = items = np.empty(0, dtype=np.int64)
        pairs = np.sort(self._pairs)
        for _ in range(_MAX_ROUNDS if len(described) else 0):
            chosen = described[self._sample_evenly(len(described), n - len(users))]
            near = self._sample_neighbors(content, self.items[chosen])
            found, pairs = self._take_first_free(self.users[chosen], near, pairs)
            users = np.concatenate([users, self.users[chosen][found >= 0]])
            items = np.concatenate([items, found[found >= 0]])
            if len(users) == n:
                return users, items
        raise TooMuchNoise(f"{n - len(users)} interactions have no similar item that is new")

    def _sample_neighbors(self, content: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Neighbors of each item ``(n, k)``, the nearest of them in random order."""
        distinct, row_of = np.unique(items, return_inverse=True)
        near = find_neighbors(content, distinct, N_NEIGHBORS)[row_of]
        near[:, :N_NEAREST] = self._rng.permuted(near[:, :N_NEAREST], axis=1)
        return near

    def _take_first_free(
        self, users: np.ndarray, candidates: np.ndarray, pairs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first of each row of ``candidates`` ``(n, k)`` that the user does not have yet.

        Returns:
            Items ``(n,)``, -1 where there is none, and the sorted keys ``pairs`` with the new ones.
        """
        items = np.full(len(users), -1, dtype=np.int64)
        for column in candidates.T:
            missing = np.flatnonzero((items < 0) & (column >= 0))
            keys = users[missing] * self.n_items + column[missing]
            _, first = np.unique(keys, return_index=True)
            new = first[~np.isin(keys[first], pairs, assume_unique=True)]
            items[missing[new]] = column[missing[new]]
            pairs = np.sort(np.concatenate([pairs, keys[new]]))
        return items, pairs

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
