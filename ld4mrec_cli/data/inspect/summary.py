"""What an inspection finds; the field names are the keys of its JSON (docs/inspect.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Period = Literal["hour", "day", "week", "month", "year"]


class _Found(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Counts(_Found):
    """Sizes of the data."""

    users: int
    """Users with an interaction; of a dataset, all that it lists."""
    items: int
    """Items with an interaction; of a dataset, all that it lists."""
    interactions: int
    """Rows, repeated ones included."""
    repeated_interactions: int
    """Rows whose user and item an earlier row has."""
    density: float
    """Share of the user-item pairs that interact."""
    items_without_interactions: int
    """Items that the item table or the dataset lists, but nobody has."""


class SplitSummary(_Found):
    """One split."""

    name: str
    interactions: int
    share: float
    """Share of all interactions."""
    users: int
    items: int
    cold_interactions: int
    """Interactions whose user or item has none in training."""


class Cold(_Found):
    """Users and items that no model can learn from interactions."""

    users: int
    """Users without a training interaction."""
    items: int
    """Items without a training interaction."""


class Histogram(_Found):
    """How often each number of interactions occurs."""

    degree: list[int]
    """Numbers of interactions that occur, ascending."""
    count: list[int]
    """How many users (or items) have that many."""


class DegreeSummary(_Found):
    """Interactions per user or per item, repeated ones counted once."""

    min: int
    q25: float
    median: float
    q75: float
    p90: float
    p99: float
    max: int
    mean: float
    gini: float
    """0: all have equally many; towards 1: a few have nearly all."""
    histogram: Histogram


class CoreSummary(_Found):
    """What a k-core filter would leave."""

    k: int
    users: int
    items: int
    interactions: int


class RatingBin(_Found):
    """Ratings of one value, or from ``low`` to ``high``."""

    low: float
    high: float
    count: int


class RatingSummary(_Found):
    """The ratings."""

    min: float
    mean: float
    max: float
    distinct: int
    """How many different ratings there are."""
    histogram: list[RatingBin]
    """A bin per value where there are few, else bins of equal width; empty bins of values are not listed."""


class TimeBin(_Found):
    """Interactions in one period."""

    start: str
    """Begin of the period, ISO 8601 in UTC."""
    interactions: int


class TimeSummary(_Found):
    """When the interactions took place, in UTC."""

    unit: Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]
    """What the timestamps count since 1970, told by their size."""
    first: str
    """ISO date of the first interaction."""
    median: str
    """ISO date by which half of the interactions had taken place."""
    last: str
    """ISO date of the last interaction."""
    days: float
    """Days from the first to the last."""
    period: Period
    """Length of the histogram's periods."""
    histogram: list[TimeBin]
    """Periods in which there are interactions."""


class ModalitySummary(_Found):
    """One modality. Shares and lengths are over the items' own feature vectors, without imputed ones."""

    name: str
    columns: int
    items_with_feature: int
    coverage: float
    """Share of the items that have a feature of their own."""
    imputed_items: int
    """Items that have none, and so get the mean of the others."""
    zero_rows: float | None
    """Share of the vectors that are all zero; null where there is no vector."""
    repeated_rows: float | None
    """Share of the vectors, not zero, that equal an earlier item's."""
    mean_length: float | None
    """Mean Euclidean length of the vectors."""


class TextSummary(_Found):
    """One text field of the items."""

    field: str
    items_with_text: int
    coverage: float
    """Share of the items that have text."""
    mean_length: float | None
    """Mean number of characters where there is text; null where there is none."""


class ItemPreview(_Found):
    """One item."""

    item: str
    title: str | None
    interactions: int
    """Users who have it."""


class Inspection(_Found):
    """All that an inspection finds."""

    name: str
    kind: Literal["raw", "dataset"]
    """``raw`` files, or a ``dataset`` directory."""
    layout: str | None
    """Layout of the raw files: mmrec, amazon or table."""
    split_method: str | None
    """How a dataset was split; null for raw files."""
    provenance: str
    """Where the data come from and what was done, in one line."""
    hash: str | None
    """Hash of a dataset, the one that run directories name; null for raw files."""
    counts: Counts
    splits: list[SplitSummary]
    """Splits of a dataset, or by the labels of raw files; empty where there are none."""
    cold: Cold | None
    """Null where there are no splits."""
    user_degrees: DegreeSummary
    item_degrees: DegreeSummary
    core: CoreSummary | None
    """What the 5-core would leave of raw files; null for a dataset, which was filtered already."""
    ratings: RatingSummary | None
    times: TimeSummary | None
    modalities: list[ModalitySummary]
    texts: list[TextSummary]
    popular_items: list[ItemPreview]
    """The items with the most interactions."""
    sample_items: list[ItemPreview]
    """Further items, drawn with a fixed seed."""
    notes: dict[str, int]
    """What was left out while reading (raw) or preparing (dataset), and how often."""
