"""How the popularity of items moves: what is popular now, against all time."""

from __future__ import annotations

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM, TIMESTAMP

SPAN_SHARES = tuple(0.5**n for n in range(1, 8))
"""Half-lives that are tried, in shares of the time that the interactions span."""
EARLIEST_SHARE = 0.05
"""Share of the interactions before that time: single wrong times do not stretch it."""


def candidate_half_lives(interactions: pl.DataFrame) -> list[float]:
    """Half-lives to try for interactions with times, from long to short, in the unit of the times.

    There are none where all times are the same or missing.
    """
    times = interactions[TIMESTAMP].drop_nulls()
    if times.is_empty():
        return []
    span = float(times.max()) - float(times.quantile(EARLIEST_SHARE))  # type: ignore[arg-type]
    return [span * share for share in SPAN_SHARES] if span > 0.0 else []


def measure_trend(interactions: pl.DataFrame, n_items: int, half_life: float) -> np.ndarray:
    """Log of the recent popularity of each item over its popularity of all time.

    An interaction counts half after ``half_life``, before the latest one; a missing time counts
    nothing. Both shares are smoothed by one interaction, so an item without any has 0.

    Args:
        interactions: ``item`` and ``timestamp`` of n interactions.
        n_items: number of items.
        half_life: positive, in the unit of the times.

    Returns:
        ``(n_items,)`` float32.
    """
    items = interactions[ITEM].to_numpy().astype(np.int64)
    times = interactions[TIMESTAMP].cast(pl.Float64).to_numpy()
    recency = np.nan_to_num(np.exp2(-(np.nanmax(times) - times) / half_life))
    recent = np.bincount(items, recency, n_items) * (len(items) / recency.sum())
    ratio = (recent + 1.0) / (np.bincount(items, minlength=n_items) + 1.0)
    logarithms: np.ndarray = np.log(ratio).astype(np.float32)
    return logarithms
