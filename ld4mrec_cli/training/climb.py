"""Hill climbing over ascending values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence


def climb(
    values: Sequence[float],
    start: int,
    measure: Callable[[float], float],
    is_better: Callable[[float, float], bool] = operator.gt,
) -> tuple[float, float]:
    """Go from place ``start`` of ascending ``values`` down and up, as long as it gets better.

    ``is_better``: whether the first of two measured values is.

    Returns:
        The best of the values that were measured, and what it measures.
    """
    best, best_value = start, measure(values[start])
    for direction in (-1, 1):
        place = start + direction
        while 0 <= place < len(values):
            value = measure(values[place])
            if not is_better(value, best_value):
                break
            best, best_value = place, value
            place += direction
    return values[best], best_value
