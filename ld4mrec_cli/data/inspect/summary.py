"""The result of an inspection. Field names are the keys of its JSON (docs/inspect.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Period = Literal["hour", "day", "week", "month", "year"]


class _Summary(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Counts(_Summary):
    """Sizes of the data."""

    users: int
    """Users with an interaction; for a dataset, all of its users."""
    items: int
    """Items with an interaction; for a dataset, all of its items."""
    interactions: int
    """Rows, including repeated pairs of user and item."""
    repeated_interactions: int
    """Rows with the user and item of an earlier row."""
    density: float
    """Share of the user-item pairs that have an interaction."""
    items_without_interactions: int
    """Items of the item table or the dataset without an interaction."""


class SplitSummary(_Summary):
    """One split."""

    name: str
    interactions: int
    share: float
    """Share of all interactions."""
    users: int
    items: int
    cold_interactions: int
    """Interactions whose user or item has no training interaction."""


class Cold(_Summary):
    """Users and items without a training interaction."""

    users: int
    items: int


class Histogram(_Summary):
    """Histogram of the numbers of interactions."""

    degree: list[int]
    """Numbers of interactions that occur, ascending."""
    count: list[int]
    """Number of users (or items) with that many interactions."""


class DegreeSummary(_Summary):
    """Interactions per user or per item; repeated pairs count once."""

    min: int
    q25: float
    median: float
    q75: float
    p90: float
    p99: float
    max: int
    mean: float
    gini: float
    """Gini coefficient. 0: all have equally many; near 1: a few have nearly all."""
    histogram: Histogram


class CoreSummary(_Summary):
    """Size of the k-core."""

    k: int
    users: int
    items: int
    interactions: int


class RatingBin(_Summary):
    """Ratings of one value, or from ``low`` to ``high``."""

    low: float
    high: float
    count: int


class RatingSummary(_Summary):
    """The ratings."""

    min: float
    mean: float
    max: float
    distinct: int
    """Number of different ratings."""
    histogram: list[RatingBin]
    """A bin per value where there are few values, else bins of equal width."""


class EventSummary(_Summary):
    """One type of event."""

    event: str
    interactions: int
    share: float
    """Share of the lines."""
    weight: float | None
    """Its weight; null where none is given."""


class TimeBin(_Summary):
    """Interactions in one period."""

    start: str
    """Start of the period, ISO 8601 in UTC."""
    interactions: int


class TimeSummary(_Summary):
    """Times of the interactions, in UTC."""

    unit: Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]
    """Unit of the timestamps, judged by their size."""
    first: str
    """ISO date of the first interaction."""
    median: str
    """ISO date of the median interaction."""
    last: str
    """ISO date of the last interaction."""
    days: float
    """Days from the first to the last."""
    period: Period
    """Length of a period of the histogram."""
    histogram: list[TimeBin]
    """Periods with interactions."""


class ModalitySummary(_Summary):
    """One modality. Shares and lengths are over the items' own vectors, not over imputed ones."""

    name: str
    columns: int
    items_with_feature: int
    coverage: float
    """Share of the items that have a feature of their own."""
    imputed_items: int
    """Items without one; they get the mean of the others."""
    zero_rows: float | None
    """Share of zero vectors; null where there is no vector."""
    repeated_rows: float | None
    """Share of vectors that are not zero and equal an earlier item's."""
    mean_length: float | None
    """Mean Euclidean length of the vectors."""


class TextSummary(_Summary):
    """One text field of the items."""

    field: str
    items_with_text: int
    coverage: float
    """Share of the items that have text."""
    mean_length: float | None
    """Mean number of characters of the texts; null where there is no text."""


class ItemPreview(_Summary):
    """One item."""

    item: str
    title: str | None
    interactions: int
    """Number of users with an interaction."""


class Inspection(_Summary):
    """The result of an inspection."""

    name: str
    kind: Literal["raw", "dataset"]
    """``raw`` files, or a ``dataset`` directory."""
    layout: str | None
    """Layout of the raw files, such as ``mmrec``."""
    split_method: str | None
    """Split method of a dataset; null for raw files."""
    provenance: str
    """Origin of the data and the steps since then, in one line."""
    hash: str | None
    """Hash of a dataset, as in run directories; null for raw files."""
    counts: Counts
    splits: list[SplitSummary]
    """Splits of a dataset, or of raw files with split labels; else empty."""
    cold: Cold | None
    """Null where there are no splits."""
    user_degrees: DegreeSummary
    item_degrees: DegreeSummary
    core: CoreSummary | None
    """Size of the 5-core of raw files; null for a dataset, which is filtered already."""
    ratings: RatingSummary | None
    weights: RatingSummary | None
    """The weights of the interactions; null where they have none."""
    events: list[EventSummary]
    """Types of events, the most frequent first; empty where no column of events is named."""
    times: TimeSummary | None
    modalities: list[ModalitySummary]
    texts: list[TextSummary]
    popular_items: list[ItemPreview]
    """The items with the most interactions."""
    sample_items: list[ItemPreview]
    """Random sample of the other items, with a fixed seed."""
    notes: dict[str, int]
    """Number of lines, interactions or items that were left out, by reason."""
