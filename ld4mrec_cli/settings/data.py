"""Sections `prepare` and `data`: how raw data is read, and which dataset is used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from ld4mrec_cli.settings.base import (
    MAY_CHANGE_ON_RESUME,
    NOT_SEARCHED,
    TFIDF,
    ColumnName,
    HalfLife,
    Names,
    NonNegativeInt,
    Section,
    Seed,
    Share,
    SplitMethod,
    Switch,
    Width,
)
from ld4mrec_cli.settings.layouts import AUTO, LAYOUTS
from ld4mrec_cli.utils.errors import nearest


def _check_layout(name: str) -> str:
    if name != AUTO and name not in LAYOUTS:
        raise ValueError(f"unknown layout '{name}'. {nearest(name, (AUTO, *LAYOUTS))}")
    return name


def _check_date_format(text: str) -> str:
    moment = datetime(2003, 12, 31, tzinfo=UTC)
    try:
        date = datetime.strptime(moment.strftime(text), text).date()
    except ValueError as error:
        raise ValueError(f"'{text}' is no date format ({error}); write one as '%d.%m.%Y'") from None
    if date != moment.date():
        raise ValueError(f"'{text}' lacks the day, month or year; write one as '%d.%m.%Y'")
    return text


ColumnKey = Literal[
    ColumnName,
    "interactions.user",
    "interactions.item",
    "interactions.rating",
    "interactions.timestamp",
    "interactions.split",
    "interactions.event",
    "interactions.weight",
    "items.item",
    "items.title",
]
"""A column in every table, or in the interactions or the items alone."""
TABLES = ("interactions", "items")

FOLD_SPLITS = ("k-fold", "rolling")
"""Splits that make several datasets."""
DEFAULT_FOLDS = 5

MAX_WEIGHT, MIN_WEIGHT = 1e9, 1e-9
"""Bounds of a weight other than 0: their ratios stay well within float32."""


def _check_weight(weight: float) -> float:
    if 0.0 < weight < MIN_WEIGHT:
        raise ValueError(f"{weight:g} is below {MIN_WEIGHT:g}; 0 leaves the event out")
    return weight


Weight = Annotated[
    float, Field(ge=0.0, le=MAX_WEIGHT, allow_inf_nan=False), AfterValidator(_check_weight)
]


class PrepareConfig(Section):
    """How `prepare` reads, filters and splits raw data."""

    may_change_on_resume: ClassVar[bool] = True
    searched: ClassVar[bool] = False

    format: Annotated[str, AfterValidator(_check_layout)] = "auto"
    """Layout of the raw directory; `auto` recognizes it from the file names and headers."""
    interactions: Path | None = None
    """Table of the interactions, whatever its name; unset looks for it in the raw directory."""
    items: Path | None = None
    """Table of the items, whatever its name; unset looks for it in the raw directory."""
    split: SplitMethod = "auto"
    """How interactions are split. `auto` takes the labels of the source, else `random`. `none`:
    every interaction is for training, as `refit` does it for serving. `k-fold` and `rolling` make
    several datasets."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Datasets that the splits `k-fold` and `rolling` make; unset: 5."""
    k_core: NonNegativeInt | None = None
    """Keep users and items with at least this many interactions, repeatedly; 0 keeps all.
    Unset: 0 if the split is given, else 5."""
    catalog: Literal["interacted", "all"] = "interacted"
    """Items of the dataset: those with an interaction that is kept, or `all` of the item table,
    too, so that a model with content can recommend them."""
    valid_ratio: Share = 0.1
    """Share of the interactions for validation (random, temporal, global-time and rolling splits;
    of a k-fold split, share of those outside the test)."""
    test_ratio: Share = 0.1
    """Share of the interactions for the test (random, temporal and global-time splits; of a rolling
    split, for the test of each fold)."""
    min_rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Interactions rated below this are dropped before anything else; unset keeps all."""
    on_error: Literal["raise", "skip"] = "raise"
    """A malformed line or an unreadable image is an error (`raise`), or is left out and counted
    (`skip`)."""
    max_errors: NonNegativeInt = 100
    """With `on_error: skip`, more malformed lines, or unreadable images, than this are an error all
    the same."""
    seed: Seed = 0
    """Seed of the random splits and of the truncated SVD of the text features."""
    text_fields: tuple[str, ...] = ("title", "brand", "categories", "description")
    """Item fields that are joined, in this order, into the text of the `text` modality."""
    text_dim: Width = 128
    """Columns of the text features (truncated SVD of TF-IDF)."""
    text_encoder: str = TFIDF
    """Encoder of the `text` modality: `tfidf`, or a local model directory of sentence-transformers
    or transformers."""
    image_encoder: Path | None = None
    """Encoder of the raw folder `images/`: a local model directory of transformers or timm, or a
    file of timm weights (`.safetensors`, `.pth`, `.pt`); unset leaves it out."""
    image_backbone: str = "resnet50"
    """The timm model that a file of weights in `image_encoder` belongs to; a directory names its
    own."""
    encoder_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where text and image encoders run; `auto` takes CUDA where there is any."""
    columns: dict[ColumnKey, str] = Field(default_factory=dict)
    """Columns that have no usual name: `{user: customer, items: {item: sku}}`."""
    date_format: Annotated[str, AfterValidator(_check_date_format)] | None = None
    """Form of the times, such as `%d.%m.%Y %H:%M`; unset reads numbers and ISO dates."""

    event_weights: dict[str, Weight] = Field(default_factory=dict)
    """Weight of each type of event in the column `event`: `{view: 1, cart: 3, buy: 10}`; 0 leaves
    such events out, and one without a weight is an error. Only ratios matter."""
    combine_weights: Literal["max", "sum"] = "max"
    """Weight of a user's repeated events with an item: the largest, or the sum."""

    @field_validator("columns", mode="before")
    @classmethod
    def _flatten_columns(cls, value: Any) -> Any:
        """Write ``{items: {item: sku}}`` as ``{items.item: sku}``; refuse wrong names."""
        if not isinstance(value, Mapping):
            return value
        columns: dict[str, Any] = {}
        for name, column in value.items():
            per_table = name in TABLES and isinstance(column, Mapping)
            columns |= (
                {f"{name}.{key}": own for key, own in column.items()}
                if per_table
                else {str(name): column}
            )
        known = get_args(ColumnKey)
        for name in columns:
            if name not in known:
                raise ValueError(f"unknown column '{name}'. {nearest(name, known)}")
        for table in TABLES:
            _check_distinct_columns(columns_of(table, columns))
        return columns

    @field_validator("event_weights", mode="before")
    @classmethod
    def _name_events(cls, value: Any) -> Any:
        """Events that YAML reads as numbers are named by their digits, as in the table."""
        if not isinstance(value, Mapping):
            return value
        if any(isinstance(name, bool) for name in value):
            raise ValueError(
                "names an event yes or no, which YAML reads as a truth value: quote it"
            )
        return {_event_name(name): weight for name, weight in value.items()}

    @model_validator(mode="after")
    def _check_events(self) -> PrepareConfig:
        columns = columns_of("interactions", self.columns)
        if self.event_weights and "event" not in columns:
            raise ValueError(
                "event_weights need the column of the events: --column event=COLUMN, or "
                "prepare.columns"
            )
        if "event" in columns and "weight" in columns:
            raise ValueError("columns names both event and weight: a weight comes from one of them")
        return self

    @property
    def is_weighted(self) -> bool:
        """Whether a column of events or weights is named."""
        return bool({"event", "weight"} & set(columns_of("interactions", self.columns)))

    @property
    def n_folds(self) -> int:
        """Datasets that the split makes."""
        return (self.folds or DEFAULT_FOLDS) if self.split in FOLD_SPLITS else 1

    @model_validator(mode="after")
    def _check_folds(self) -> PrepareConfig:
        if self.folds is not None and self.split not in FOLD_SPLITS:
            raise ValueError(f"folds is for the splits {' and '.join(FOLD_SPLITS)}")
        if self.split == "rolling" and self.valid_ratio + self.n_folds * self.test_ratio >= 1.0:
            raise ValueError(
                "valid_ratio + folds * test_ratio must stay below 1, so that something is left to "
                "train on"
            )
        return self

    @model_validator(mode="after")
    def _shares_leave_training_data(self) -> PrepareConfig:
        if self.valid_ratio + self.test_ratio >= 1.0:
            raise ValueError(
                "valid_ratio + test_ratio must stay below 1, so that something is left to train on"
            )
        return self


def _event_name(name: Any) -> Any:
    is_whole = isinstance(name, float) and name.is_integer()
    return str(int(name) if is_whole else name) if isinstance(name, int | float) else name


def columns_of(
    table: str, columns: Mapping[ColumnKey, str] | Mapping[str, str]
) -> dict[ColumnName, str]:
    """Column by our name in a table: the names for every table, then those for this one."""
    shared = {name: column for name, column in columns.items() if "." not in name}
    prefix = f"{table}."
    own = {
        name.removeprefix(prefix): column
        for name, column in columns.items()
        if name.startswith(prefix)
    }
    return shared | own  # type: ignore[return-value]


def _check_distinct_columns(columns: Mapping[ColumnName, Any]) -> None:
    name_of: dict[str, str] = {}
    for name, column in columns.items():
        first = name_of.setdefault(str(column), name)
        if first != name and {first, name} not in ({"rating", "weight"}, {"rating", "event"}):
            raise ValueError(f"{first} and {name} are both '{column}'")


class DataConfig(Section):
    """Which dataset directory is used, and what of it."""

    path: Annotated[Path | None, MAY_CHANGE_ON_RESUME, NOT_SEARCHED] = None
    """The dataset directory that `prepare` wrote."""
    modalities: Names | None = None
    """Modalities to use, by name; unset uses every one that the dataset has, `[]` none."""
    use_weights: bool = True
    """Weigh interactions where the dataset has weights and the model honors them; `false` counts
    each as one."""
    history_half_life: Annotated[HalfLife, Switch("fading histories", "off", needs_times=True)] = (
        "auto"
    )
    """Later items of a history for which the weight of an item halves when the model scores: with
    4, the fifth last item counts half of the last. `auto`: chosen on validation where the split is
    in time, else off. For models that honor weights; training counts old and new the same."""
