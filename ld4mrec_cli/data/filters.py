"""Filters of interactions, as pure functions of arrays."""

from __future__ import annotations

import numpy as np


def k_core(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Which interactions are left when users and items with fewer than ``k`` are dropped, repeatedly.

    Returns:
        ``(n,)`` bool: the largest set in which every user and item has at least ``k`` interactions.
    """
    kept = np.ones(len(users), dtype=bool)
    if k <= 1:
        return kept
    while True:
        user_counts = np.bincount(users[kept], minlength=int(users.max(initial=-1)) + 1)
        item_counts = np.bincount(items[kept], minlength=int(items.max(initial=-1)) + 1)
        still = kept & (user_counts[users] >= k) & (item_counts[items] >= k)
        if still.sum() == kept.sum():
            return kept
        kept = still
