"""The tables and lines of an inspection, for both the terminal and the HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ld4mrec_cli.data.inspect.summary import (
    Cold,
    CoreSummary,
    DegreeSummary,
    EventSummary,
    Inspection,
    ItemPreview,
    ModalitySummary,
    RatingSummary,
    SplitSummary,
    TextSummary,
    TimeSummary,
)
from ld4mrec_cli.utils.tables import Table


def make_split_table(splits: Sequence[SplitSummary]) -> Table:
    """Return a row per split."""
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


def make_degree_table(users: DegreeSummary, items: DegreeSummary) -> Table:
    """Return the distribution of interactions per user and per item, a row each."""
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
        columns, [("per user", *_format_degrees(users)), ("per item", *_format_degrees(items))]
    )


def _format_degrees(summary: DegreeSummary) -> list[str]:
    quantiles = (
        summary.min,
        summary.q25,
        summary.median,
        summary.q75,
        summary.p90,
        summary.p99,
        summary.max,
    )
    cells = [f"{value:,.0f}" if value == int(value) else f"{value:,.1f}" for value in quantiles]
    return [*cells, f"{summary.mean:,.1f}", f"{summary.gini:.2f}"]


def make_rating_table(ratings: RatingSummary) -> Table:
    """Return a row per bin of the ratings."""
    total = sum(entry.count for entry in ratings.histogram)
    rows = [
        (format_bin(entry.low, entry.high), f"{entry.count:,}", f"{entry.count / total:.1%}")
        for entry in ratings.histogram
    ]
    return Table(("rating", "interactions", "share"), rows)


def make_event_table(events: Sequence[EventSummary]) -> Table:
    """Return a row per type of event."""
    rows = [
        (
            e.event,
            f"{e.interactions:,}",
            f"{e.share:.1%}",
            "–" if e.weight is None else f"{e.weight:g}",
        )
        for e in events
    ]
    return Table(("event", "interactions", "share", "weight"), rows)


def make_weight_table(weights: RatingSummary) -> Table:
    """Return a row per bin of the weights."""
    total = sum(entry.count for entry in weights.histogram)
    rows = [
        (format_bin(entry.low, entry.high), f"{entry.count:,}", f"{entry.count / total:.1%}")
        for entry in weights.histogram
    ]
    return Table(("weight", "interactions", "share"), rows)


def make_modality_table(modalities: Sequence[ModalitySummary]) -> Table:
    """Return a row per modality."""
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
            _format_mean(m.mean_length),
        )
        for m in modalities
    ]
    return Table(columns, rows)


def make_text_table(texts: Sequence[TextSummary]) -> Table:
    """Return a row per text field."""
    rows = [
        (t.field, f"{t.items_with_text:,}", f"{t.coverage:.1%}", _format_mean(t.mean_length))
        for t in texts
    ]
    return Table(("text", "items with it", "coverage", "mean characters"), rows)


def format_bin(low: float, high: float) -> str:
    """Return the name of a bin of ratings."""
    return f"{low:g}" if low == high else f"{low:g} – {high:g}"


def make_item_table(items: Sequence[ItemPreview]) -> Table:
    """Return a row per item; titles are the third column, where an item has one."""
    if not any(item.title for item in items):
        return Table(
            ("item", "interactions"), [(item.item, f"{item.interactions:,}") for item in items]
        )
    rows = [(item.item, f"{item.interactions:,}", item.title or "") for item in items]
    return Table(("item", "interactions", "title"), rows)


def make_note_table(notes: Mapping[str, int]) -> Table:
    """Return a row per reason why data were left out."""
    return Table(("reason", "count"), [(reason, f"{count:,}") for reason, count in notes.items()])


def describe_source(inspection: Inspection) -> str:
    """Return kind and origin of the data in one line."""
    is_raw = inspection.kind == "raw"
    kind = "raw files" if is_raw else f"dataset, {inspection.split_method} split"
    return f"{kind}; {inspection.provenance}"


def describe_cold(cold: Cold | None) -> str:
    """Return the numbers of cold users and items in one line; empty without splits."""
    if cold is None:
        return ""
    return (
        f"without a training interaction (cold): {cold.users:,} users, {cold.items:,} items; "
        "an interaction is cold where its user or item is"
    )


def describe_core(core: CoreSummary | None) -> str:
    """Return the size of the k-core in one line; empty for a dataset."""
    if core is None:
        return ""
    sizes = f"{core.users:,} users, {core.items:,} items, {core.interactions:,} interactions"
    return f"a {core.k}-core would leave {sizes}"


def describe_ratings(ratings: RatingSummary | None) -> str:
    """Return mean and number of values of the ratings in one line; empty without ratings."""
    return f"mean {ratings.mean:.4g}; different values: {ratings.distinct:,}" if ratings else ""


def describe_times(times: TimeSummary) -> str:
    """Return the period of the data in one line."""
    return (
        f"{times.first} to {times.last} (UTC, timestamps in {times.unit}), "
        f"half of the interactions by {times.median}"
    )


def _format_mean(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
