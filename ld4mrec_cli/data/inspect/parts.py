"""The pieces of an inspection: distributions of degrees, ratings and times; features and texts."""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise

import numpy as np
import polars as pl

from ld4mrec_cli.data.inspect.summary import (
    DegreeSummary,
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

MOST_VALUES = 20
"""Ratings of at most this many different values have a bin for each value."""

UNITS = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
LATEST = 10**11
"""Seconds since 1970 beyond which (in the year 5138) a finer unit is meant."""

PERIODS: tuple[tuple[float, Period, str], ...] = (
    (3, "hour", "1h"),
    (92, "day", "1d"),
    (730, "week", "1w"),
    (7300, "month", "1mo"),
    (float("inf"), "year", "1y"),
)
"""Days that the data may span → period of the histogram, so that there are neither few nor countless."""


def degrees(counts: np.ndarray) -> DegreeSummary:
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


def rating_summary(ratings: np.ndarray) -> RatingSummary | None:
    """Summarize ratings ``(n,)``; None where there are none."""
    if not len(ratings):
        return None
    values, counts = np.unique(ratings.astype(np.float64), return_counts=True)
    low, high = float(values[0]), float(values[-1])
    scale = max(abs(low), abs(high)) or 1.0  # so that the sum of huge ratings stays finite
    mean = float((values / scale) @ counts / counts.sum() * scale)
    edges = list(zip(values.tolist(), values.tolist(), strict=True))
    if len(values) > MOST_VALUES:
        cuts = (np.linspace(low / scale, high / scale, MOST_VALUES + 1) * scale).tolist()
        bin_of = np.clip(np.searchsorted(cuts, values, side="right") - 1, 0, MOST_VALUES - 1)
        counts = np.bincount(bin_of, weights=counts, minlength=MOST_VALUES)
        edges = list(pairwise(cuts))
    bins = [RatingBin(low=a, high=b, count=int(n)) for (a, b), n in zip(edges, counts, strict=True)]
    return RatingSummary(min=low, mean=mean, max=high, distinct=len(values), histogram=bins)


def time_summary(timestamps: np.ndarray) -> TimeSummary | None:
    """Summarize timestamps ``(n,)``, seconds since 1970 or a finer unit; None where there are none."""
    if not len(timestamps):
        return None
    largest = max(abs(int(timestamps.min())), abs(int(timestamps.max())))
    unit, per_second = next((u for u in UNITS if largest < LATEST * u[1]), UNITS[-1])
    seconds = pl.Series("seconds", (np.sort(timestamps) // per_second).astype(np.int64))
    times = pl.from_epoch(seconds, time_unit="s")
    days = (int(timestamps.max()) - int(timestamps.min())) / per_second / 86_400
    period, every = next((name, every) for most, name, every in PERIODS if days <= most)
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


def modality_summary(
    name: str, values: np.ndarray, wanted: np.ndarray, n_items: int
) -> ModalitySummary:
    """Summarize features, read chunk by chunk.

    Args:
        values: ``(n_rows, dim)``, may be memory-mapped.
        wanted: which rows belong to an item of the data and are its own, ``(n_rows,)`` bool.
    """
    n_rows = int(wanted.sum())
    total, zero = 0.0, 0
    digests = np.empty(n_rows, dtype=np.uint64)
    done = 0
    for start, chunk in chunks(values):
        rows = chunk[wanted[start : start + len(chunk)]]
        square = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        total += float(np.sqrt(square).sum())
        own = rows[rows.any(axis=1)]
        zero += len(rows) - len(own)
        digests[done : done + len(own)] = row_digests(own)
        done += len(own)
    repeated = done - len(np.unique(digests[:done]))
    return ModalitySummary(
        name=name,
        columns=int(values.shape[1]),
        items_with_feature=n_rows,
        coverage=n_rows / n_items,
        imputed_items=n_items - n_rows,
        zero_rows=zero / n_rows if n_rows else None,
        repeated_rows=repeated / n_rows if n_rows else None,
        mean_length=total / n_rows if n_rows else None,
    )


def row_digests(rows: np.ndarray) -> np.ndarray:
    """64 bits of each row ``(n, dim)`` that equal rows share."""
    plain = rows + np.float32(0.0)  # makes -0.0 the same as 0.0
    digests = (
        int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest(), "little") for row in plain
    )
    return np.fromiter(digests, dtype=np.uint64, count=len(rows))


def text_summaries(texts: pl.DataFrame) -> list[TextSummary]:
    """Summarize the text fields of the items, a column each."""
    found = []
    for series in texts.iter_columns():
        lengths = series.fill_null("").str.strip_chars().str.len_chars()
        lengths = lengths.filter(lengths > 0)
        mean = float(lengths.mean()) if len(lengths) else None  # type: ignore[arg-type]
        share = len(lengths) / len(texts)
        found.append(
            TextSummary(
                field=series.name, items_with_text=len(lengths), coverage=share, mean_length=mean
            )
        )
    return found
