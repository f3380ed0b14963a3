"""From the request of a user to the plan of a study, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.experiments.compare.plan import check_metric, with_protocol
from ld4mrec_cli.experiments.compare.systems import System, replace_settings, shared_evaluation
from ld4mrec_cli.experiments.study.execute import is_study
from ld4mrec_cli.experiments.study.plan import StudyPlan
from ld4mrec_cli.experiments.study.request import Request
from ld4mrec_cli.experiments.study.studies import Study
from ld4mrec_cli.utils.errors import UserError
from ld4mrec_cli.utils.files import check_output_directory

SEEDS = (0, 1, 2, 3, 4)
QUICK_SEEDS = (0, 1)
QUICK_EPOCHS = 8


def plan_study(
    study: Study,
    request: Request,
    seeds: Sequence[int] | None,
    split: str,
    metric: str,
    device: torch.device,
    out: Path,
    command: str,
) -> StudyPlan:
    """Check that the study can be done and that ``out`` may be written.

    Raises:
        UserError: the systems differ in cutoffs or mask, the metric is unknown, a setting does not
            fit, or ``out`` holds other files.
    """
    cutoff = check_metric(metric)
    shared = shared_evaluation(request.systems)
    shared = shared.model_copy(update={"k": tuple(sorted({*shared.k, cutoff}))})
    systems = [
        with_protocol(_shorten(system) if request.is_quick else system, request.dataset, shared)
        for system in request.systems
    ]
    variants = study.plan(replace(request, systems=systems))
    labels = [variant.label.lower() for variant in variants]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"two variants are called '{label}'", hint="Name each value once")
    check_output_directory(out, overwrite=True, is_replaceable=is_study)
    return StudyPlan(
        study=study.name,
        variants=variants,
        seeds=tuple(seeds or (QUICK_SEEDS if request.is_quick else SEEDS)),
        dataset=request.dataset,
        split=split,
        options=shared.model_copy(update={"mask": "train"}) if split == Split.VALID else shared,
        metric=metric,
        tested=tuple(dict.fromkeys((metric, f"recall@{cutoff}"))),
        device=device,
        out=out,
        command=command,
    )


def _shorten(system: System) -> System:
    """With few epochs."""
    epochs = min(system.config.training.max_epochs, QUICK_EPOCHS)
    return replace(system, config=replace_settings(system.config, "training", max_epochs=epochs))
