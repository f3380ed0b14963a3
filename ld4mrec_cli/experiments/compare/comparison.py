"""Compare systems: train the missing runs, evaluate all alike, test the differences.

::

    comparison.json  comparison.md  comparison.png    the result
    configs/LABEL.yaml                                configuration of each system
    runs/LABEL-seedN/                                 run directories
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from ld4mrec_cli import __version__
from ld4mrec_cli.config import config_to_yaml
from ld4mrec_cli.evaluation.mean_difference import Sample
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError
from ld4mrec_cli.evaluation.significance import RESAMPLES, PairedTest, compare_all
from ld4mrec_cli.experiments.compare.plan import Plan, PlannedRun
from ld4mrec_cli.experiments.compare.report import write_report
from ld4mrec_cli.experiments.compare.results import (
    FORMAT,
    RESULT,
    VERSION,
    Comparison,
    DatasetRecord,
    PairResult,
    RunResult,
    SystemResult,
)
from ld4mrec_cli.experiments.compare.runs import Train, find_run, finish_run
from ld4mrec_cli.experiments.compare.systems import System
from ld4mrec_cli.experiments.directories import lock_directory
from ld4mrec_cli.experiments.subprocess_training import (
    Reporter,
    TrainingFailed,
    train_in_subprocess,
)
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.utils.errors import OutputError, TrainingInterrupted, UserError
from ld4mrec_cli.utils.files import write_json, write_text

BOOTSTRAP_SEED = 0
"""Seed of the bootstrap, so that the same runs give the same intervals."""

PerUser = Mapping[str, np.ndarray]
"""Values of each user ``(n_users,)`` by metric."""


@dataclass
class _Results:
    """Results of the runs of one system."""

    runs: list[RunResult] = field(default_factory=list)
    per_user: list[PerUser] = field(default_factory=list)


def compare(plan: Plan, log: Reporter, train: Train = train_in_subprocess) -> Comparison:
    """Carry out a plan. A system that fails is part of the result; the others go on.

    The split is opened after the last training. The report is written into ``plan.out``, which is
    locked until then.

    Raises:
        OutputError: ``plan.out`` cannot be written.
        RunError: ``plan.out`` holds a run of other settings or data, or another process uses it.
        TrainingInterrupted: the same command continues the comparison.
    """
    try:
        with lock_directory(plan.out, "comparison"):
            return _compare(plan, log, train)
    except KeyboardInterrupt:
        hint = f"Continue it with the same command and --out {plan.out}"
        raise TrainingInterrupted("interrupted", hint=hint) from None


def _compare(plan: Plan, log: Reporter, train: Train) -> Comparison:
    """Train, evaluate, test and write the report."""
    planned_runs = plan.planned_runs()
    for planned in planned_runs:
        find_run(planned, plan.dataset)  # refuse before hours of training
    _create_directory(plan)
    runs = [_train(planned, plan, train, log) for planned in planned_runs]
    results = {system.label: _Results() for system in plan.systems}
    for planned, run in zip(planned_runs, runs, strict=True):
        _evaluate(planned, run, plan, results[planned.system.label], log)
    comparison = _summarize(plan, results)
    write_report(comparison, plan)
    return comparison


def _create_directory(plan: Plan) -> None:
    """Mark the directory as a comparison, then fill it; a previous result stays until the end."""
    if not (plan.out / RESULT).exists():
        write_json(plan.out / RESULT, {"format": FORMAT, "version": VERSION, "status": "running"})
    try:
        for name in ("configs", "runs"):
            (plan.out / name).mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=plan.out) from None
    for system in plan.systems:
        write_text(plan.config_file(system), config_to_yaml(system.config))


def _train(planned: PlannedRun, plan: Plan, train: Train, log: Reporter) -> RunDirectory | str:
    """The finished run, or the reason why there is none."""
    try:
        return finish_run(planned, plan.config_file(planned.system), plan.dataset, train, log)
    except (TrainingFailed, UserError) as error:
        log(f"{planned.title}: failed, the others go on")
        return str(error)


def _evaluate(
    planned: PlannedRun, run: RunDirectory | str, plan: Plan, results: _Results, log: Reporter
) -> None:
    """Evaluate a run and add its metrics to ``results``."""
    path = planned.path.relative_to(plan.out).as_posix()
    if isinstance(run, str):
        results.runs.append(RunResult(seed=planned.seed, path=path, error=run))
        return
    log(f"{planned.title}: evaluating on the {plan.split} split")
    options = plan.options.model_copy(update={"batch_size": planned.config.evaluation.batch_size})
    start = time.monotonic()
    try:
        evaluation = evaluate_run(run, plan.dataset, plan.split, options, plan.device)
    except (UserError, NonFiniteScoresError) as error:
        results.runs.append(RunResult(seed=planned.seed, path=path, error=str(error)))
        return
    seconds = time.monotonic() - start
    manifest = run.manifest
    results.per_user.append({name: evaluation.per_user[name] for name in plan.tested})
    results.runs.append(
        RunResult(
            seed=planned.seed,
            path=path,
            best_epoch=manifest.best.epoch if manifest.best else None,
            device=manifest.device,
            training_seconds=manifest.seconds,
            peak_memory_mb=manifest.peak_memory_mb,
            evaluation_seconds=seconds,
            users_per_second=len(evaluation.users) / max(seconds, 1e-9),
            metrics=evaluation.metrics,
        )
    )


def _summarize(plan: Plan, results: Mapping[str, _Results]) -> Comparison:
    systems = [_system_result(system, results[system.label].runs) for system in plan.systems]
    working = [system.label for system in systems if system.worked]
    samples = {one.label: _samples(one, results[one.label], plan) for one in plan.systems}
    tests = compare_all(
        {metric: [samples[label][metric] for label in working] for metric in plan.tested},
        BOOTSTRAP_SEED,
    )
    dataset = plan.dataset
    n_users, n_items = dataset.shape
    return Comparison(
        ld4mrec=__version__,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        dataset=DatasetRecord(
            name=dataset.name,
            path=str(dataset.directory),
            hash=dataset.hash,
            n_users=n_users,
            n_items=n_items,
        ),
        split=plan.split,
        mask=plan.options.mask,
        k=list(plan.options.k),
        n_users=len(results[working[0]].per_user[0][plan.metric]) if working else None,
        metric=plan.metric,
        tested=list(plan.tested),
        seeds=list(plan.seeds),
        resamples=RESAMPLES,
        systems=systems,
        pairs={
            metric: [pair_result(test, working) for test in found]
            for metric, found in tests.items()
        },
    )


def _samples(system: System, results: _Results, plan: Plan) -> dict[str, Sample]:
    """Values of the runs of a system by metric; none where no run worked."""
    if not results.per_user:
        return {}
    return {
        metric: Sample(np.stack([run[metric] for run in results.per_user]), system.uses_seed)
        for metric in plan.tested
    }


def _system_result(system: System, runs: list[RunResult]) -> SystemResult:
    return SystemResult.of(
        label=system.label,
        model=system.config.model_name,
        config_file=system.source,
        uses_seed=system.uses_seed,
        runs=runs,
    )


def pair_result(test: PairedTest, labels: Sequence[str]) -> PairResult:
    """The test of a pair under the labels of its systems."""
    return PairResult(
        a=labels[test.a],
        b=labels[test.b],
        difference=test.difference,
        low=test.low,
        high=test.high,
        over_seeds=test.over_seeds,
        p=test.p,
        p_holm=test.p_holm,
        detectable=test.detectable,
        wilcoxon_p=test.wilcoxon_p,
        rank_balance=test.rank_balance,
        a_better=test.a_better,
        b_better=test.b_better,
        equal=test.equal,
        significant=test.is_significant,
    )
