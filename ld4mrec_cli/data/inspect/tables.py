"""The tables of an inspection as text cells, the same on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from ld4mrec_cli.data.inspect.summary import (
    DegreeSummary,
    Inspection,
    ModalitySummary,
    RatingSummary,
    SplitSummary,
    TextSummary,
    TimeSummary,
)
from ld4mrec_cli.utils.tables import Table


def split_table(splits: Sequence[SplitSummary]) -> Table:
    """A row per split."""
    rows = [
        (
            s.name,
            f"{s.interactions:,}",
            f"{s.share:.1%}",
            f"{s.users:,}",
            f"{s.items:,}",
            f"{s.cold_interactions:,}",
        )
        for s in splits
    ]
    return Table(("split", "interactions", "share", "users", "items", "cold"), rows)


def degree_table(users: DegreeSummary, items: DegreeSummary) -> Table:
    """Distribution of the interactions per user and per item."""
    columns = (
        "interactions",
        "min",
        "25 %",
        "median",
        "75 %",
        "90 %",
        "99 %",
        "max",
        "mean",
        "Gini",
    )
    return Table(
        columns, [("per user", *_degree_cells(users)), ("per item", *_degree_cells(items))]
    )


def _degree_cells(found: DegreeSummary) -> list[str]:
    quantiles = (found.min, found.q25, found.median, found.q75, found.p90, found.p99, found.max)
    cells = [f"{value:,.0f}" if value == int(value) else f"{value:,.1f}" for value in quantiles]
    return [*cells, f"{found.mean:,.1f}", f"{found.gini:.2f}"]


def rating_table(ratings: RatingSummary) -> Table:
    """A row per bin."""
    total = sum(entry.count for entry in ratings.histogram)
    rows = [
        (rating_label(entry.low, entry.high), f"{entry.count:,}", f"{entry.count / total:.1%}")
        for entry in ratings.histogram
    ]
    return Table(("rating", "interactions", "share"), rows)


def modality_table(modalities: Sequence[ModalitySummary]) -> Table:
    """A row per modality."""
    columns = (
        "modality",
        "columns",
        "coverage",
        "imputed items",
        "zero",
        "repeated",
        "mean length",
    )
    rows = [
        (
            m.name,
            f"{m.columns:,}",
            f"{m.coverage:.1%}",
            f"{m.imputed_items:,}",
            "–" if m.zero_rows is None else f"{m.zero_rows:.1%}",
            "–" if m.repeated_rows is None else f"{m.repeated_rows:.1%}",
            _mean(m.mean_length),
        )
        for m in modalities
    ]
    return Table(columns, rows)


def text_table(texts: Sequence[TextSummary]) -> Table:
    """A row per text field."""
    rows = [
        (t.field, f"{t.items_with_text:,}", f"{t.coverage:.1%}", _mean(t.mean_length))
        for t in texts
    ]
    return Table(("text", "items with it", "coverage", "mean characters"), rows)


def rating_label(low: float, high: float) -> str:
    """Name of a bin of ratings."""
    return f"{low:g}" if low == high else f"{low:g} – {high:g}"


def what_it_is(found: Inspection) -> str:
    """Kind and origin in one line."""
    kind = "raw files" if found.kind == "raw" else f"dataset, {found.split_method} split"
    return f"{kind}; {found.provenance}"


def cold_line(found: Inspection) -> str:
    """What is cold; empty where there are no splits."""
    if found.cold is None:
        return ""
    return (
        f"without a training interaction (cold): {found.cold.users:,} users, {found.cold.items:,} items; "
        "an interaction is cold where its user or item is"
    )


def core_line(found: Inspection) -> str:
    """What the k-core would leave; empty for a dataset."""
    core = found.core
    if core is None:
        return ""
    left = f"{core.users:,} users, {core.items:,} items, {core.interactions:,} interactions"
    return f"a {core.k}-core would leave {left}"


def rating_line(found: Inspection) -> str:
    """Mean and variety of the ratings; empty where there are none."""
    ratings = found.ratings
    return f"mean {ratings.mean:.4g}; different values: {ratings.distinct:,}" if ratings else ""


def time_line(times: TimeSummary) -> str:
    """The span of time."""
    return f"{times.first} to {times.last} (UTC, timestamps in {times.unit}), half of the interactions by {times.median}"


def _mean(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
