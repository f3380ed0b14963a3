"""Carry out a study: derive its datasets, train what is missing, evaluate, write the report.

::

    study.html  study.md  study.json  study-N.png    the result
    configs/LABEL.yaml                               configuration of each variant
    data/NAME-seedN/                                 derived datasets
    runs/LABEL-seedN/                                run directories
    evaluations/LABEL-seedN[.READING].json           what was measured of them
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ld4mrec_cli.config import config_to_yaml
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError
from ld4mrec_cli.experiments.compare.plan import PlannedRun
from ld4mrec_cli.experiments.compare.runs import Train, finish_run
from ld4mrec_cli.experiments.directories import has_result, lock_directory
from ld4mrec_cli.experiments.study.derived import open_derived
from ld4mrec_cli.experiments.study.measure import measure
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.plan import StudyPlan, Variant
from ld4mrec_cli.experiments.study.report import Report
from ld4mrec_cli.experiments.study.subject import Subject
from ld4mrec_cli.experiments.study.writer import FORMAT, RESULT, VERSION, write_report
from ld4mrec_cli.experiments.subprocess_training import (
    Reporter,
    TrainingFailed,
    train_in_subprocess,
)
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.utils.errors import (
    OutputError,
    RunError,
    TrainingInterrupted,
    UserError,
)
from ld4mrec_cli.utils.files import write_json, write_text

MakeReport = Callable[[Outcome], Report]


def carry_out(
    plan: StudyPlan, make_report: MakeReport, log: Reporter, train: Train = train_in_subprocess
) -> tuple[Outcome, Report]:
    """Train, evaluate and report. A training that fails is part of the result; the others go on.

    Raises:
        OutputError: ``plan.out`` cannot be written.
        RunError: it holds another study or runs of other settings, or another process uses it.
        TrainingInterrupted: the same command continues the study.
    """
    try:
        with lock_directory(plan.out, "study"):
            created = _prepare_directory(plan)
            outcome = _run_all(plan, train, log)
            report = make_report(outcome)
            write_report(outcome, report, created)
            return outcome, report
    except KeyboardInterrupt:
        hint = f"Continue it with the same command and --out {plan.out}"
        raise TrainingInterrupted("interrupted", hint=hint) from None


def _prepare_directory(plan: StudyPlan) -> str:
    """Mark the directory, write the configurations, and return when the study was begun."""
    path = plan.out / RESULT
    if not path.exists():
        created = datetime.now().astimezone().isoformat(timespec="seconds")
        begun = {"format": FORMAT, "version": VERSION, "study": plan.study, "created": created}
        write_json(path, {**begun, "status": "running"})
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("study") != plan.study:
        raise RunError(
            f"holds the study '{found.get('study')}'", where=plan.out, hint="Choose another --out"
        )
    try:
        for name in ("configs", "runs", "evaluations"):
            (plan.out / name).mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=plan.out) from None
    for variant in plan.variants:
        write_text(plan.config_file(variant), config_to_yaml(variant.system.config))
    return str(found["created"])


def _run_all(plan: StudyPlan, train: Train, log: Reporter) -> Outcome:
    """All trainings, then all evaluations, so that the split is opened last."""
    runs = [
        (variant, planned, _train(variant, planned, plan, train, log))
        for variant in plan.variants
        for planned in plan.planned_runs(variant)
    ]
    outcome = Outcome(plan)
    for variant, planned, trained in runs:
        if isinstance(trained, str):
            outcome.failures.append(f"{planned.title}: {trained}")
        else:
            _measure(variant, planned, *trained, outcome, log)
    return outcome


def _train(
    variant: Variant, planned: PlannedRun, plan: StudyPlan, train: Train, log: Reporter
) -> tuple[RunDirectory, Dataset] | str:
    """The finished run and its dataset, or the reason why there is none."""
    try:
        dataset = plan.dataset
        if variant.derivation is not None:
            data = plan.out / "data"
            dataset = open_derived(variant.derivation, plan.dataset, data, planned.seed)
        return finish_run(planned, plan.config_file(variant), dataset, train, log), dataset
    except RunError:
        raise
    except (TrainingFailed, UserError) as error:
        log(f"{planned.title}: failed, the others go on")
        return str(error)


def _measure(
    variant: Variant,
    planned: PlannedRun,
    run: RunDirectory,
    dataset: Dataset,
    outcome: Outcome,
    log: Reporter,
) -> None:
    plan = outcome.plan
    size = planned.config.evaluation.batch_size
    options = plan.options.model_copy(update={"batch_size": size})
    log(f"{planned.title}: evaluating on the {plan.split} split")
    subject = Subject(
        run=run,
        label=variant.label,
        seed=planned.seed,
        dataset=dataset,
        source=plan.dataset,
        split=plan.split,
        options=options,
        tested=plan.tested,
        device=plan.device,
    )
    for reading in variant.readings:
        is_trained_once = reading.is_drawn and not variant.uses_seed
        for seed in plan.seeds if is_trained_once else (planned.seed,):
            try:
                measured = measure(replace(subject, seed=seed), reading, plan.out / "evaluations")
            except (UserError, NonFiniteScoresError) as error:
                outcome.failures.append(f"{planned.title}: {error}")
                break
            outcome.add(variant, reading.name, measured)


def is_study(directory: Path) -> bool:
    """Whether `ld4mrec study` created the directory, also if it was killed at once."""
    return has_result(directory, RESULT, FORMAT)
