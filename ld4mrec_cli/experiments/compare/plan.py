"""The plan of a comparison, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ld4mrec_cli.config import Config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.metrics import ACCURACY
from ld4mrec_cli.experiments.compare.results import is_comparison
from ld4mrec_cli.experiments.compare.systems import System, replace_settings, shared_evaluation
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.errors import UserError, nearest
from ld4mrec_cli.utils.files import check_output_directory


@dataclass(frozen=True)
class PlannedRun:
    """One training of a system."""

    system: System
    seed: int
    path: Path
    """Its run directory."""

    @property
    def config(self) -> Config:
        """Configuration of the training."""
        return self.system.with_seed(self.seed)

    @property
    def title(self) -> str:
        """Name in messages."""
        return (
            f"{self.system.label} seed {self.seed}" if self.system.uses_seed else self.system.label
        )


@dataclass(frozen=True)
class Plan:
    """Systems, data and protocol of a comparison."""

    systems: Sequence[System]
    """Their configurations have the common dataset and protocol."""
    seeds: Sequence[int]
    dataset: Dataset
    split: str
    options: EvaluationConfig
    """Cutoffs and mask of every evaluation."""
    metric: str
    """Ranks the systems."""
    tested: tuple[str, ...]
    """Metrics whose differences are tested."""
    device: torch.device
    """Where runs are evaluated."""
    out: Path

    def planned_runs(self) -> list[PlannedRun]:
        """Every training, system by system."""
        return [
            PlannedRun(system, seed, self.out / "runs" / f"{system.label}-seed{seed}")
            for system in self.systems
            for seed in system.seeds(self.seeds)
        ]

    def config_file(self, system: System) -> Path:
        """File with the configuration of a system."""
        return self.out / "configs" / f"{system.label}.yaml"


def plan_comparison(
    systems: Sequence[System],
    dataset: Dataset,
    seeds: Sequence[int],
    split: str,
    metric: str,
    device: torch.device,
    out: Path,
) -> Plan:
    """Check that the systems can be compared and that ``out`` may be written.

    Raises:
        UserError: the systems differ in cutoffs or mask, the metric is unknown, or ``out`` holds
            other files.
    """
    cutoff = check_metric(metric)
    shared = shared_evaluation(systems)
    shared = shared.model_copy(update={"k": tuple(sorted({*shared.k, cutoff}))})
    check_output_directory(out, overwrite=True, is_replaceable=is_comparison)
    return Plan(
        systems=[with_protocol(system, dataset, shared) for system in systems],
        seeds=seeds,
        dataset=dataset,
        split=split,
        # On the valid split, training items are excluded whatever the option says.
        options=shared.model_copy(update={"mask": "train"}) if split == Split.VALID else shared,
        metric=metric,
        tested=tuple(dict.fromkeys((f"recall@{cutoff}", f"ndcg@{cutoff}", metric))),
        device=device,
        out=out,
    )


def with_protocol(system: System, dataset: Dataset, shared: EvaluationConfig) -> System:
    """The system with the common dataset and protocol, as `evaluate` of its runs reads them."""
    config = replace_settings(system.config, "data", path=dataset.directory)
    return replace(
        system, config=replace_settings(config, "evaluation", k=shared.k, mask=shared.mask)
    )


def check_metric(metric: str) -> int:
    """Return the cutoff of a metric such as ``ndcg@20``. Raises UserError."""
    name, _, cutoff = metric.partition("@")
    if name not in ACCURACY:
        raise UserError(f"unknown metric '{metric}'", hint=nearest(name, ACCURACY))
    if not (cutoff.isascii() and cutoff.isdigit()) or int(cutoff) < 1 or str(int(cutoff)) != cutoff:
        raise UserError(f"--metric '{metric}' has no cutoff", hint=f"Give it as {name}@20")
    return int(cutoff)
