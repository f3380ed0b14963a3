"""Statistics that several groups of modules use."""

from __future__ import annotations

import numpy as np


def gini(counts: np.ndarray) -> float:
    """Gini index of counts ``(n,)``, such as recommendations of each item.

    0: all counts are equal. Near 1: a few items have nearly all of them.
    """
    ordered = np.sort(np.asarray(counts, dtype=np.float64))
    n, total = len(ordered), ordered.sum()
    if total == 0:
        return 0.0
    return float((2.0 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))
