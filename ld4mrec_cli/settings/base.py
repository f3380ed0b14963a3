"""The base of every section, the types of settings, and the marks on a setting.

Whole numbers have upper bounds, so that a typing error is one clear line and not a full memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


def _read_off(value: Any) -> Any:
    if value is True:
        raise ValueError("is a number, auto or off")
    return "off" if value is False else value  # YAML reads a bare `off` as a boolean


Auto = Literal["auto"]
AUTO: Auto = "auto"
"""Value of a setting that is chosen on validation."""
HalfLife = Annotated[Positive | Literal["auto", "off"], BeforeValidator(_read_off)]
"""How fast the past fades; `auto`: chosen on validation after the training where the split is in
time, else off."""
Scale = Positive | Auto
"""Weight of a part of a mixture; `auto`: chosen on validation, with the epoch."""
Ridge = Positive | Auto
"""A ridge; `auto`: chosen on validation before the training."""
ContentWeight = NonNegative | dict[str, NonNegative] | Auto
"""A number weighs every modality; a mapping gives weights by modality, and the others have none;
`auto`: each modality has a weight that is chosen on validation before the training."""
AutoSwitch = bool | Auto
"""On or off; `auto`: chosen on validation before the training."""
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
NonNegativeInt = Annotated[int, Field(ge=0, le=1_000_000_000)]
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Columns of a matrix of weights or features."""
TimeWidth = Annotated[int, Field(ge=2, le=65_536, multiple_of=2)]
"""Columns of a time embedding: half of them sines, half cosines."""
Depth = Annotated[int, Field(ge=0, le=1_000)]
"""Layers or blocks of a network."""
Steps = Annotated[int, Field(ge=1, le=100_000)]
"""Steps of a diffusion process."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Cutoffs = Annotated[tuple[Count, ...], Field(min_length=1, max_length=1_000)]

SplitMethod = Literal[
    "auto",
    "random",
    "temporal",
    "global-time",
    "leave-one-out",
    "given",
    "none",
    "k-fold",
    "rolling",
]
Mask = Literal["train", "train+valid"]
Preset = Literal["default", "paper"]
ColumnName = Literal["user", "item", "rating", "timestamp", "split", "title", "event", "weight"]
TFIDF = "tfidf"


def _check_distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"names '{name}' twice")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_check_distinct)]


@dataclass(frozen=True)
class ReadBy:
    """Marks a setting of a shared section that a single model reads."""

    model: str


@dataclass(frozen=True)
class MayChangeOnResume:
    """Marks a setting that may differ when a run is resumed."""


@dataclass(frozen=True)
class NotSearched:
    """Marks a setting that `tune` must not search, as trials could not be compared."""


@dataclass(frozen=True)
class Switch:
    """Marks a setting that switches a part of a model off, for `study ablation`."""

    part: str
    """Name of the part, for tables: ``without {part}``."""
    off: Any = False
    """Value without the part."""
    also: tuple[tuple[str, Any], ...] = ()
    """Other settings by key that must change with it."""
    needs: str | None = None
    """Setting that must be on (neither 0 nor unset), or the part does nothing."""
    needs_times: bool = False
    """Whether ``auto`` does nothing where the dataset is not split in time."""
    needs_features: bool = False
    """Whether the part reads item features, and does nothing without any."""


@dataclass(frozen=True)
class SwitchEach:
    """Marks a setting that is a list of signals, each of which `study ablation` leaves out."""

    part: str
    """Name of such a signal, for tables: ``without {part} text``."""


MAY_CHANGE_ON_RESUME = MayChangeOnResume()
NOT_SEARCHED = NotSearched()


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    may_change_on_resume: ClassVar[bool] = False
    """Whether all settings of the section may differ when a run is resumed."""
    searched: ClassVar[bool] = True
    """Whether `tune` may search the settings of the section."""
