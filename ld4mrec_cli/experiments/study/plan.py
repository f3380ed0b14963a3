"""What a study trains and evaluates: a declaration, which :mod:`.execute` carries out.

A study lists variants. Each is a configuration, trained once per seed on the dataset or on one
derived from it, and evaluated in one or more ways (readings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ld4mrec_cli.config import Config, config_from_mapping
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.experiments.compare.plan import PlannedRun
from ld4mrec_cli.experiments.compare.systems import System
from ld4mrec_cli.experiments.study.derived import Derivation
from ld4mrec_cli.experiments.study.subject import Probe
from ld4mrec_cli.settings.evaluation import EvaluationConfig


@dataclass(frozen=True)
class Reading:
    """One way to evaluate a run."""

    name: str = ""
    """Part of file names; empty for the run as it is."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Settings at inference by ``section.key``."""
    is_timed: bool = False
    """Whether the time of scoring is measured."""
    probe: Probe | None = None
    """What is evaluated; None: what `ld4mrec evaluate` does."""
    is_drawn: bool = False
    """Whether the evaluation draws by seed, so that each seed gives another result."""

    def config(self, config: Config) -> Config | None:
        """The configuration at inference; None for that of the run. Raises ConfigError."""
        return with_settings(config, self.overrides) if self.overrides else None


AS_TRAINED = Reading()


@dataclass(frozen=True)
class Variant:
    """A row of a study: a system, on which data, and how it is evaluated."""

    system: System
    """Label and configuration."""
    title: str
    """Name for tables and pictures."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the study varies, for its report."""
    derivation: Derivation | None = None
    """Data that it is trained on; None: the dataset."""
    readings: tuple[Reading, ...] = (AS_TRAINED,)

    @property
    def label(self) -> str:
        """Names its files."""
        return self.system.label

    @property
    def uses_seed(self) -> bool:
        """Whether two seeds give two results, by the model or by its data."""
        return self.system.uses_seed or self.derivation is not None

    def seeds(self, wanted: Sequence[int]) -> Sequence[int]:
        """The seeds that it is trained with."""
        return wanted if self.uses_seed else wanted[:1]

    def varies(self, reading: str) -> bool:
        """Whether two seeds give two results of a reading."""
        return self.uses_seed or any(one.is_drawn for one in self.readings if one.name == reading)


@dataclass(frozen=True)
class StudyPlan:
    """Variants, data and protocol of a study."""

    study: str
    variants: Sequence[Variant]
    seeds: Sequence[int]
    dataset: Dataset
    split: str
    options: EvaluationConfig
    metric: str
    """Decides."""
    tested: tuple[str, ...]
    """Metrics whose differences are tested."""
    device: torch.device
    out: Path
    command: str
    """The command line that repeats the study."""

    def planned_runs(self, variant: Variant) -> list[PlannedRun]:
        """The trainings of a variant."""
        return [
            PlannedRun(variant.system, seed, self.out / "runs" / f"{variant.label}-seed{seed}")
            for seed in variant.seeds(self.seeds)
        ]

    def config_file(self, variant: Variant) -> Path:
        """File with the configuration of a variant."""
        return self.out / "configs" / f"{variant.label}.yaml"


def with_settings(config: Config, changes: Mapping[str, Any]) -> Config:
    """``config`` with some settings replaced, by ``section.key``. Raises ConfigError."""
    values = config.model_dump(mode="json")
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        (values[section] if section else values)[name] = value
    return config_from_mapping(values)
