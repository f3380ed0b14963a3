"""``evaluation.json`` of a run: the metrics that `evaluate` measured, by split and cutoff.

The file stands beside the manifest and is not part of it: a run is the same before and after an
evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ld4mrec_cli.utils.errors import RunError
from ld4mrec_cli.utils.files import write_json

EVALUATION = "evaluation.json"
Finite = Annotated[float, Field(allow_inf_nan=False)]


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


def write_evaluation(
    run: Path, split: str, metrics: Mapping[str, float], measured: Mapping[str, object]
) -> None:
    """Add metrics such as ``recall@20`` of a split to the file, atomically.

    Args:
        run: the run directory.
        split: the split that was evaluated.
        metrics: value by name and cutoff.
        measured: the other fields of :class:`Measured`.

    Raises:
        OutputError: the directory cannot be written.
    """
    try:
        evaluations = read_evaluations(run)
    except RunError:  # it is replaced by what is known now
        evaluations = Evaluations()
    by_k: dict[int, dict[str, float]] = {}
    for key, value in metrics.items():
        name, _, k = key.partition("@")
        by_k.setdefault(int(k), {})[name] = value
    new = {k: Measured.model_validate({**measured, "metrics": own}) for k, own in by_k.items()}
    of_split = dict(sorted({**evaluations.splits.get(split, {}), **new}.items()))
    splits = {**evaluations.splits, split: of_split}
    content = evaluations.model_copy(update={"splits": splits})
    write_json(run / EVALUATION, json.loads(content.model_dump_json()))
