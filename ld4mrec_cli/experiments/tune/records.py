"""What a search writes down: its settings, its trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAY_DIFFER = ("data.path", "training.device")
"""Settings that may differ when a search is continued; data.path must lead to the same data."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Status = Literal["complete", "timed_out", "pruned", "failed", "invalid"]


class Budget(BaseModel):
    """How much a search may do; what comes first ends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    trials: Annotated[int, Field(ge=1)] | None = None
    """Trials in all."""
    minutes: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """Time of all trials together, those before an interruption included."""
    prune: bool = False
    """Whether trials below the median are stopped."""


class Trial(BaseModel):
    """One line of ``trials.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: Annotated[int, Field(ge=0)]
    values: dict[str, Any]
    """By config key."""
    status: Status
    """``timed_out``: stopped by the time budget; ``pruned``: behind the median; ``failed``:
    diverged or out of memory; ``invalid``: not a valid training."""
    valid: dict[str, Finite] = {}
    """Validation metrics of the best epoch; empty where there is no result."""
    best_epoch: int | None = None
    epochs: int = 0
    seconds: Finite = 0.0
    seed: int
    """Seed of the training, the same for all trials."""
    reason: str | None = None
    """Why there is no result."""


class SearchInfo(BaseModel):
    """Content of ``search.json``."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["ld4mrec-search"] = "ld4mrec-search"
    version: Literal[1] = 1
    model: str
    metric: str
    """Validation metric that is maximized."""
    seed: int
    base: dict[str, Any]
    """The complete configuration that the search starts from."""
    space: dict[str, dict[str, Any]]
    dataset: dict[str, str]
    """Its ``path``, ``name`` and ``hash``."""
    budget: Budget
    started: str
    versions: dict[str, str]


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Differences between two sets of values, as ``key: before -> after``."""
    return [
        f"{key}: {before[key]} -> {value}" for key, value in after.items() if value != before[key]
    ]
