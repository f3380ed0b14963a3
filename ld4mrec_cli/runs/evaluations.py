"""``evaluation.json`` of a run: the metrics that `evaluate` measured, by split and cutoff.

The file stands beside the manifest and is not part of it: a run is the same before and after an
evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ld4mrec_cli.evaluation.results import Evaluation, Grouping
from ld4mrec_cli.utils.errors import RunError
from ld4mrec_cli.utils.files import write_json

EVALUATION = "evaluation.json"
V = TypeVar("V")
Finite = Annotated[float, Field(allow_inf_nan=False)]


class MeasuredGroup(BaseModel):
    """Metrics of a group of users or of target items."""

    model_config = ConfigDict(extra="forbid")
    group: str
    n_users: int
    metrics: dict[str, Finite]


class MeasuredGap(BaseModel):
    """How far the groups are apart in a metric."""

    model_config = ConfigDict(extra="forbid")
    difference: Finite
    ratio: Finite | None


class MeasuredGroups(BaseModel):
    """Groups of one kind."""

    model_config = ConfigDict(extra="forbid")
    by: str
    groups: list[MeasuredGroup]
    gap: dict[str, MeasuredGap]
    """Gap by metric."""

    @classmethod
    def of(cls, grouping: Grouping) -> Self:
        """From what was found; metrics keep their cutoffs."""
        groups = [
            MeasuredGroup(group=one.name, n_users=one.n_users, metrics=one.metrics)
            for one in grouping.groups
        ]
        gaps = {
            name: MeasuredGap(difference=gap.difference, ratio=gap.ratio)
            for name, gap in grouping.gaps.items()
        }
        return cls(by=grouping.by, groups=groups, gap=gaps)

    def at(self, k: int) -> Self:
        """The same at one cutoff; the metrics are named without it."""
        groups = [
            one.model_copy(update={"metrics": at_cutoff(one.metrics, k)}) for one in self.groups
        ]
        return self.model_copy(update={"groups": groups, "gap": at_cutoff(self.gap, k)})


class Measured(BaseModel):
    """Metrics at one cutoff."""

    model_config = ConfigDict(extra="forbid")
    mask: str
    """What was excluded from the ranking."""
    n_users: int
    dataset_hash: str
    time: str
    """When it was measured, ISO."""
    metrics: dict[str, Finite]
    """Value by name of the metric, without the cutoff."""
    groups: list[MeasuredGroups] = []
    """Metrics by groups of users and items, where they were asked for."""


class Evaluations(BaseModel):
    """Content of ``evaluation.json``."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["ld4mrec-evaluation"] = "ld4mrec-evaluation"
    version: Literal[1] = 1
    splits: dict[str, dict[int, Measured]] = {}
    """Split → cutoff → what was measured last; of newer data the split is ``newer test``."""

    def value(self, split: str, metric: str) -> float | None:
        """Value of a metric such as ``recall@20``; None where it was not measured."""
        name, _, k = metric.partition("@")
        measured = self.splits.get(split, {}).get(int(k))
        return None if measured is None else measured.metrics.get(name)


def read_evaluations(run: Path) -> Evaluations:
    """Read what was measured of a run; nothing where there is no file.

    Raises:
        RunError: the file is damaged.
    """
    path = run / EVALUATION
    try:
        return Evaluations.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Evaluations()
    except (OSError, ValueError, ValidationError, RecursionError):
        raise RunError("is damaged", where=path, hint="Remove it and evaluate again") from None


def at_cutoff(values: Mapping[str, V], k: int) -> dict[str, V]:
    """Values such as that of ``recall@20`` at one cutoff, by the name without it."""
    parts = ((*name.rpartition("@")[::2], value) for name, value in values.items())
    return {name: value for name, cutoff, value in parts if cutoff == str(k)}


def write_evaluation(
    run: Path, split: str, found: Evaluation, measured: Mapping[str, object]
) -> None:
    """Add metrics such as ``recall@20`` of a split to the file, atomically.

    Args:
        run: the run directory.
        split: the split that was evaluated.
        found: metrics and groups.
        measured: the other fields of :class:`Measured`.

    Raises:
        OutputError: the directory cannot be written.
    """
    try:
        evaluations = read_evaluations(run)
    except RunError:  # it is replaced by what is known now
        evaluations = Evaluations()
    groups = [MeasuredGroups.of(grouping) for grouping in found.groups]
    new = {
        k: Measured.model_validate(
            {
                **measured,
                "metrics": at_cutoff(found.metrics, k),
                "groups": [one.at(k) for one in groups],
            }
        )
        for k in found.item_counts
    }
    of_split = dict(sorted({**evaluations.splits.get(split, {}), **new}.items()))
    splits = {**evaluations.splits, split: of_split}
    content = evaluations.model_copy(update={"splits": splits})
    write_json(run / EVALUATION, json.loads(content.model_dump_json()))
