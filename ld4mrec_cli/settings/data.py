"""Sections `prepare` and `data`: how raw data is read, and which dataset is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from ld4mrec_cli.settings.base import (
    MAY_CHANGE_ON_RESUME,
    NOT_SEARCHED,
    TFIDF,
    ColumnName,
    Names,
    NonNegativeInt,
    Section,
    Seed,
    Share,
    SplitMethod,
    Width,
)
from ld4mrec_cli.settings.layouts import AUTO, LAYOUTS
from ld4mrec_cli.utils.errors import nearest


def _check_layout(name: str) -> str:
    if name != AUTO and name not in LAYOUTS:
        raise ValueError(f"unknown layout '{name}'. {nearest(name, (AUTO, *LAYOUTS))}")
    return name


class PrepareConfig(Section):
    """How `prepare` reads, filters and splits raw data."""

    may_change_on_resume: ClassVar[bool] = True
    searched: ClassVar[bool] = False

    format: Annotated[str, AfterValidator(_check_layout)] = "auto"
    """Layout of the raw directory; `auto` recognizes it from the file names and headers."""
    split: SplitMethod = "auto"
    """How interactions are split. `auto` takes given labels where the source has them, else `random`."""
    k_core: NonNegativeInt | None = None
    """Keep users and items with at least this many interactions, repeatedly; 0 keeps all. Unset: 0 if given, else 5."""
    valid_ratio: Share = 0.1
    """Share of the interactions that goes to validation (random, temporal and global-time splits)."""
    test_ratio: Share = 0.1
    """Share of the interactions that goes to test (random, temporal and global-time splits)."""
    min_rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Interactions rated below this are dropped before anything else; unset keeps all."""
    on_error: Literal["raise", "skip"] = "raise"
    """A malformed line of raw data is an error (`raise`), or is left out and counted (`skip`)."""
    max_errors: NonNegativeInt = 100
    """With `on_error: skip`, more malformed lines than this are an error all the same."""
    seed: Seed = 0
    """Seed of the random splits and of the truncated SVD of the text features."""
    text_fields: tuple[str, ...] = ("title", "brand", "categories", "description")
    """Item fields that are joined, in this order, into the text of the `text` modality."""
    text_dim: Width = 128
    """Columns of the text features (truncated SVD of TF-IDF)."""
    text_encoder: str = TFIDF
    """What makes the `text` modality: `tfidf`, or the path of a local sentence-transformers model directory."""
    image_encoder: Path | None = None
    """Local weights (`.safetensors`, `.pth`, `.pt`) that encode the raw folder `images/`; unset leaves it out."""
    image_backbone: str = "resnet50"
    """The timm model that the weights of `image_encoder` belong to."""
    encoder_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where text and image encoders run; `auto` takes CUDA where there is any."""
    columns: dict[ColumnName, str] = Field(default_factory=dict)
    """Names of the columns in plain tables, where they are not the usual ones, e.g. `{user: customer}`."""

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_are_ours_and_differ(cls, value: Any) -> Any:
        known, seen = get_args(ColumnName), dict[Any, Any]()
        for ours, theirs in value.items() if isinstance(value, Mapping) else ():
            if ours not in known:
                raise ValueError(f"unknown column '{ours}'. {nearest(str(ours), known)}")
            if str(theirs) in seen:
                raise ValueError(f"{seen[str(theirs)]} and {ours} are both '{theirs}'")
            seen[str(theirs)] = ours
        return value

    @model_validator(mode="after")
    def _shares_leave_training_data(self) -> PrepareConfig:
        if self.valid_ratio + self.test_ratio >= 1.0:
            raise ValueError(
                "valid_ratio + test_ratio must stay below 1, so that something is left to train on"
            )
        return self


class DataConfig(Section):
    """Which dataset directory is used, and what of it."""

    path: Annotated[Path | None, MAY_CHANGE_ON_RESUME, NOT_SEARCHED] = None
    """The dataset directory that `prepare` wrote."""
    modalities: Names | None = None
    """Modalities to use, by name; unset uses every one that the dataset has, `[]` none."""
