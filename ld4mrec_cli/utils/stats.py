"""Statistics that several layers share."""

from __future__ import annotations

import numpy as np


def gini(counts: np.ndarray) -> float:
    """Gini index of counts, such as how often each item is recommended: 0 is even, towards 1 a few have it all."""
    ordered = np.sort(np.asarray(counts, dtype=np.float64))
    n, total = len(ordered), ordered.sum()
    if total == 0:
        return 0.0
    return float((2.0 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))
