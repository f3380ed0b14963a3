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
from ld4mrec_cli.experiments.compare.given import GivenSystem, check_given
from ld4mrec_cli.experiments.compare.results import is_comparison
from ld4mrec_cli.experiments.compare.systems import (
    System,
    check_distinct,
    replace_settings,
    shared_evaluation,
)
from ld4mrec_cli.runs.newer_data import OnUnknown
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.errors import DatasetError, UserError, nearest
from ld4mrec_cli.utils.files import check_output_directory


@dataclass(frozen=True)
class PlannedRun:
    """One training of a system."""

    system: System
    seed: int
    path: Path
    """Its run directory."""
    fold: int | None = None
    """Number of the fold that it is on, from 1; None where there are no folds."""

    @property
    def config(self) -> Config:
        """Configuration of the training."""
        return self.system.with_seed(self.seed)

    @property
    def title(self) -> str:
        """Name in messages."""
        fold = "" if self.fold is None else f" fold {self.fold}"
        return f"{self.system.label}{fold}" + (
            f" seed {self.seed}" if self.system.uses_seed else ""
        )


@dataclass(frozen=True)
class Plan:
    """Systems, data and protocol of a comparison."""

    systems: Sequence[System]
    """Their configurations have the common dataset and protocol."""
    given: Sequence[GivenSystem]
    """Lists of other tools."""
    seeds: Sequence[int]
    datasets: Sequence[Dataset]
    """One, or the folds."""
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
    on_unknown: OnUnknown = "error"
    """What becomes of users and items of ``given`` that a dataset does not know."""

    @property
    def dataset(self) -> Dataset:
        """The dataset, or the first fold."""
        return self.datasets[0]

    @property
    def folds(self) -> Sequence[int | None]:
        """Numbers of the folds; None where there is one dataset."""
        return range(1, len(self.datasets) + 1) if len(self.datasets) > 1 else [None]

    def of_fold(self, fold: int | None) -> Dataset:
        """The dataset of a fold."""
        return self.datasets[(fold or 1) - 1]

    def planned_runs(self) -> list[PlannedRun]:
        """Every training, system by system."""
        return [
            PlannedRun(system, seed, self._run_path(system, seed, fold), fold)
            for system in self.systems
            for fold in self.folds
            for seed in system.seeds(self.seeds)
        ]

    def _run_path(self, system: System, seed: int, fold: int | None) -> Path:
        place = "" if fold is None else f"-fold{fold}"
        return self.out / "runs" / f"{system.label}{place}-seed{seed}"

    def config_file(self, system: System) -> Path:
        """File with the configuration of a system."""
        return self.out / "configs" / f"{system.label}.yaml"


def plan_comparison(
    systems: Sequence[System],
    datasets: Sequence[Dataset],
    seeds: Sequence[int],
    split: str,
    metric: str,
    device: torch.device,
    out: Path,
    given: Sequence[GivenSystem] = (),
    protocol: EvaluationConfig | None = None,
    on_unknown: OnUnknown = "error",
) -> Plan:
    """Check that the systems can be compared and that ``out`` may be written.

    Args:
        systems: those that are trained.
        datasets: one, or several that are folds.
        seeds, split, metric, device, out, given, on_unknown: see :class:`Plan`.
        protocol: cutoffs and mask where no system has any.

    Raises:
        UserError: the systems differ in cutoffs or mask, two have one label, the metric is
            unknown, two datasets are the same, or ``out`` holds other files.
    """
    cutoff = check_metric(metric)
    check_distinct([*(one.label for one in systems), *(one.label for one in given)])
    check_given(given, len(datasets))
    _check_folds(datasets)
    shared = shared_evaluation(systems) if systems else protocol or EvaluationConfig()
    shared = shared.model_copy(update={"k": tuple(sorted({*shared.k, cutoff}))})
    check_output_directory(out, overwrite=True, is_replaceable=is_comparison)
    return Plan(
        systems=[with_protocol(system, datasets[0], shared) for system in systems],
        given=given,
        seeds=seeds,
        datasets=datasets,
        split=split,
        # On the valid split, training items are excluded whatever the option says.
        options=shared.model_copy(update={"mask": "train"}) if split == Split.VALID else shared,
        metric=metric,
        tested=tuple(dict.fromkeys((f"recall@{cutoff}", f"ndcg@{cutoff}", metric))),
        device=device,
        out=out,
        on_unknown=on_unknown,
    )


def _check_folds(datasets: Sequence[Dataset]) -> None:
    """Raise DatasetError where two folds are the same data."""
    first_of: dict[str, Dataset] = {}
    for dataset in datasets:
        if dataset.hash in first_of:
            other = first_of[dataset.hash].directory
            what = f"is the same data as {other}, and a fold counts once"
            raise DatasetError(what, where=dataset.directory, hint="Name it once")
        first_of[dataset.hash] = dataset


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
