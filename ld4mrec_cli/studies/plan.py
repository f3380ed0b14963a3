"""What a comparison will do, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ld4mrec_cli.config import Config, EvaluationConfig
from ld4mrec_cli.data.columns import VALID
from ld4mrec_cli.data.dataset import PreparedDataset
from ld4mrec_cli.errors import UserError, nearest
from ld4mrec_cli.evaluation.metrics import ACCURACY
from ld4mrec_cli.files import check_output_directory
from ld4mrec_cli.studies.contenders import Contender, changed, shared_evaluation
from ld4mrec_cli.studies.results import is_comparison


@dataclass(frozen=True)
class Job:
    """One training of a contender."""

    contender: Contender
    seed: int
    path: Path
    """Its run directory."""

    @property
    def config(self) -> Config:
        """What it is trained with."""
        return self.contender.with_seed(self.seed)

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"{self.contender.label} seed {self.seed}" if self.contender.uses_seed else self.contender.label


@dataclass(frozen=True)
class Plan:
    """What is compared, on what and how."""

    contenders: Sequence[Contender]
    """With the dataset and protocol of all in their configurations."""
    seeds: Sequence[int]
    dataset: PreparedDataset
    split: str
    options: EvaluationConfig
    """Cutoffs and mask of every evaluation."""
    metric: str
    """Ranks the contenders."""
    tested: tuple[str, ...]
    """Metrics whose differences are tested."""
    device: torch.device
    """Where runs are evaluated."""
    out: Path

    def jobs(self) -> list[Job]:
        """Every training, contender by contender."""
        return [
            Job(contender, seed, self.out / "runs" / f"{contender.label}-seed{seed}")
            for contender in self.contenders
            for seed in contender.seeds(self.seeds)
        ]

    def config_file(self, contender: Contender) -> Path:
        """Where the configuration that a contender is trained with is written."""
        return self.out / "configs" / f"{contender.label}.yaml"


def plan_comparison(
    contenders: Sequence[Contender],
    dataset: PreparedDataset,
    seeds: Sequence[int],
    split: str,
    metric: str,
    device: torch.device,
    out: Path,
) -> Plan:
    """Check that the contenders can be compared so, and that ``out`` may be written.

    Raises:
        UserError: the contenders differ in cutoffs or mask, the metric is unknown, or ``out`` holds something else.
    """
    cutoff = check_metric(metric)
    shared = shared_evaluation(contenders)
    shared = shared.model_copy(update={"k": tuple(sorted({*shared.k, cutoff}))})
    check_output_directory(out, overwrite=True, is_ours=is_comparison)
    return Plan(
        contenders=[_joined(contender, dataset, shared) for contender in contenders],
        seeds=seeds,
        dataset=dataset,
        split=split,
        # On the valid split, training items are masked whatever the option says; the report must say so too.
        options=shared.model_copy(update={"mask": "train"}) if split == VALID else shared,
        metric=metric,
        tested=tuple(dict.fromkeys((f"recall@{cutoff}", f"ndcg@{cutoff}", metric))),
        device=device,
        out=out,
    )


def _joined(contender: Contender, dataset: PreparedDataset, shared: EvaluationConfig) -> Contender:
    """The contender on the common dataset and protocol, so that `evaluate` of its runs gives the same figures."""
    config = changed(contender.config, "data", path=dataset.directory)
    return replace(contender, config=changed(config, "evaluation", k=shared.k, mask=shared.mask))


def check_metric(metric: str) -> int:
    """The cutoff of a metric such as ``ndcg@20``. Raises UserError for one that is unknown."""
    name, _, cutoff = metric.partition("@")
    if name not in ACCURACY:
        raise UserError(f"unknown metric '{metric}'", hint=nearest(name, ACCURACY))
    if not (cutoff.isascii() and cutoff.isdigit()) or int(cutoff) < 1 or str(int(cutoff)) != cutoff:
        raise UserError(f"--metric '{metric}' has no cutoff", hint=f"Give it as {name}@20")
    return int(cutoff)
