"""Summaries of degrees, ratings, times, features and texts."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import polars as pl

from ld4mrec_cli.data.inspect.summary import (
    DegreeSummary,
    EventSummary,
    Histogram,
    ModalitySummary,
    Period,
    RatingBin,
    RatingSummary,
    TextSummary,
    TimeBin,
    TimeSummary,
)
from ld4mrec_cli.data.readers.arrays import chunks
from ld4mrec_cli.utils.stats import gini

MAX_BINS = 20
"""Ratings with at most this many different values have a bin for each value."""

UNITS = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
MAX_SECONDS = 10**11
"""Larger timestamps (after the year 5138) have a finer unit than seconds."""

PERIODS: tuple[tuple[float, Period, str], ...] = (
    (3, "hour", "1h"),
    (92, "day", "1d"),
    (730, "week", "1w"),
    (7300, "month", "1mo"),
    (float("inf"), "year", "1y"),
)
"""Maximum number of days, period of the histogram, and the same for polars.

The number of bars stays between a few and a few hundred.
"""


def summarize_degrees(counts: np.ndarray) -> DegreeSummary:
    """Summarize the numbers of interactions ``(n,)`` of users or items."""
    q25, median, q75, p90, p99 = (
        float(value) for value in np.quantile(counts, (0.25, 0.5, 0.75, 0.9, 0.99))
    )
    values, frequency = np.unique(counts, return_counts=True)
    return DegreeSummary(
        min=int(values[0]),
        q25=q25,
        median=median,
        q75=q75,
        p90=p90,
        p99=p99,
        max=int(values[-1]),
        mean=float(counts.mean()),
        gini=gini(counts),
        histogram=Histogram(degree=values.tolist(), count=frequency.tolist()),
    )


def summarize_ratings(ratings: np.ndarray) -> RatingSummary | None:
    """Summarize ratings ``(n,)``; return None where there are none."""
    if not len(ratings):
        return None
    values, counts = np.unique(ratings.astype(np.float64), return_counts=True)
    low, high = float(values[0]), float(values[-1])
    scale = max(abs(low), abs(high)) or 1.0  # keeps the sum of huge ratings finite
    mean = float((values / scale) @ counts / counts.sum() * scale)
    edges = list(zip(values.tolist(), values.tolist(), strict=True))
    if len(values) > MAX_BINS:
        cuts = (np.linspace(low / scale, high / scale, MAX_BINS + 1) * scale).tolist()
        bin_of = np.clip(np.searchsorted(cuts, values, side="right") - 1, 0, MAX_BINS - 1)
        counts = np.bincount(bin_of, weights=counts, minlength=MAX_BINS)
        edges = list(pairwise(cuts))
    bins = [RatingBin(low=a, high=b, count=int(n)) for (a, b), n in zip(edges, counts, strict=True)]
    return RatingSummary(min=low, mean=mean, max=high, distinct=len(values), histogram=bins)


def summarize_events(counts: Mapping[str, int], weights: Mapping[str, float]) -> list[EventSummary]:
    """Summarize types of events by their numbers of lines and their weights."""
    total = sum(counts.values())
    return [
        EventSummary(event=e, interactions=n, share=n / total, weight=weights.get(e))
        for e, n in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    ]


def summarize_times(timestamps: np.ndarray) -> TimeSummary | None:
    """Summarize timestamps ``(n,)`` since 1970; return None where there are none.

    The largest timestamp decides the unit: seconds or a finer one.
    """
    if not len(timestamps):
        return None
    largest = max(abs(int(timestamps.min())), abs(int(timestamps.max())))
    unit, per_second = next((u for u in UNITS if largest < MAX_SECONDS * u[1]), UNITS[-1])
    seconds = pl.Series("seconds", (np.sort(timestamps) // per_second).astype(np.int64))
    times = pl.from_epoch(seconds, time_unit="s")
    days = (int(timestamps.max()) - int(timestamps.min())) / per_second / 86_400
    period, every = next((name, every) for limit, name, every in PERIODS if days <= limit)
    start = times.dt.truncate(every).alias("start")
    bins = start.to_frame().group_by("start").agg(pl.len().alias("n")).sort("start")
    pattern = "%Y-%m-%dT%H:%M" if period == "hour" else "%Y-%m-%d"
    starts = bins["start"].dt.to_string(pattern)
    first, median, last = times.gather([0, (len(times) - 1) // 2, len(times) - 1]).dt.to_string(
        "%Y-%m-%d"
    )
    return TimeSummary(
        unit=unit,
        first=first,
        median=median,
        last=last,
        days=days,
        period=period,
        histogram=[
            TimeBin(start=s, interactions=n) for s, n in zip(starts, bins["n"], strict=True)
        ],
    )


def summarize_modality(
    name: str, values: np.ndarray, has_item: np.ndarray, n_items: int
) -> ModalitySummary:
    """Summarize the features of one modality, chunk by chunk.

    Args:
        name: name of the modality.
        values: features ``(n_rows, dim)``, may be memory-mapped.
        has_item: rows that are an item's own feature, ``(n_rows,)`` bool.
        n_items: number of items of the data.
    """
    n_rows = int(has_item.sum())
    total_length, n_zero, n_nonzero = 0.0, 0, 0
    digests = np.empty(n_rows, dtype=np.uint64)
    for start, chunk in chunks(values):
        rows = chunk[has_item[start : start + len(chunk)]]
        square = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        total_length += float(np.sqrt(square).sum())
        nonzero = rows[rows.any(axis=1)]
        n_zero += len(rows) - len(nonzero)
        digests[n_nonzero : n_nonzero + len(nonzero)] = hash_rows(nonzero)
        n_nonzero += len(nonzero)
    n_repeated = n_nonzero - len(np.unique(digests[:n_nonzero]))
    return ModalitySummary(
        name=name,
        columns=int(values.shape[1]),
        items_with_feature=n_rows,
        coverage=n_rows / n_items,
        imputed_items=n_items - n_rows,
        zero_rows=n_zero / n_rows if n_rows else None,
        repeated_rows=n_repeated / n_rows if n_rows else None,
        mean_length=total_length / n_rows if n_rows else None,
    )


def hash_rows(rows: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of each row ``(n, dim)``; equal rows have equal hashes."""
    canonical = rows + np.float32(0.0)  # -0.0 becomes 0.0
    digests = (
        int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest(), "little")
        for row in canonical
    )
    return np.fromiter(digests, dtype=np.uint64, count=len(rows))


def summarize_texts(texts: pl.DataFrame) -> list[TextSummary]:
    """Summarize the text fields of the items, a column each."""
    summaries = []
    for series in texts.iter_columns():
        lengths = series.fill_null("").str.strip_chars().str.len_chars()
        lengths = lengths.filter(lengths > 0)
        mean = float(lengths.mean()) if len(lengths) else None  # type: ignore[arg-type]
        share = len(lengths) / len(texts)
        summaries.append(
            TextSummary(
                field=series.name, items_with_text=len(lengths), coverage=share, mean_length=mean
            )
        )
    return summaries
