"""Types of settings, and what every section is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Cutoffs = Annotated[tuple[Count, ...], Field(min_length=1)]

SourceFormat = Literal["auto", "amazon", "mmrec", "recbole", "table"]
SplitMethod = Literal["auto", "random", "temporal", "global-time", "leave-one-out", "given"]
Mask = Literal["train", "train+valid"]
ModelName = Literal["ld4mrec", "popularity", "itemknn", "ease", "ials", "bpr", "lightgcn", "vbpr", "multvae", "diffrec"]
Preset = Literal["default", "paper"]


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"names '{name}' twice")
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_each_once)]
ColumnName = Literal["user", "item", "rating", "timestamp", "label", "title"]
TFIDF = "tfidf"


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
