"""What is measured of a run, and in which way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.settings.evaluation import EvaluationConfig


@dataclass(frozen=True)
class Subject:
    """A trained run, its data, and the protocol."""

    run: RunDirectory
    label: str
    """Of its variant."""
    seed: int
    """Of the training, or of what the evaluation draws."""
    dataset: Dataset
    """The run was trained on it."""
    source: Dataset
    """The dataset of the study, which ``dataset`` may be derived from."""
    split: str
    options: EvaluationConfig
    tested: tuple[str, ...]
    """Metrics whose differences are tested."""
    device: torch.device

    @property
    def cutoff(self) -> int:
        """That of the deciding metric."""
        return int(self.tested[0].partition("@")[2])


@dataclass(frozen=True)
class Findings:
    """Figures of an evaluation."""

    metrics: Mapping[str, float]
    per_user: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Values of users by name ``(n,)``, which need not be the same users."""


class Probe(Protocol):
    """An evaluation of its own in place of that of `ld4mrec evaluate`."""

    def as_json(self) -> dict[str, Any]:
        """All that it depends on besides the subject."""

    def evaluate(self, subject: Subject) -> Findings:
        """Evaluate a run. Raises UserError where it cannot be done."""
