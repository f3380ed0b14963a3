"""Filters of interactions, as pure functions of arrays."""

from __future__ import annotations

import numpy as np


def k_core(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Drop users and items with fewer than ``k`` interactions, until none is left.

    Args:
        users: user code of each interaction, ``(n,)``.
        items: item code of each interaction, ``(n,)``.
        k: fewest interactions of a user or an item; 0 and 1 drop nothing.

    Returns:
        ``(n,)`` bool: True in the largest set in which every user and item has ``k`` interactions.
    """
    in_core = np.ones(len(users), dtype=bool)
    if k <= 1:
        return in_core
    while True:
        user_counts = np.bincount(users[in_core], minlength=int(users.max(initial=-1)) + 1)
        item_counts = np.bincount(items[in_core], minlength=int(items.max(initial=-1)) + 1)
        enough = in_core & (user_counts[users] >= k) & (item_counts[items] >= k)
        if enough.sum() == in_core.sum():
            return in_core
        in_core = enough
