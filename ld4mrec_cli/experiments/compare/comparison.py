"""Compare systems: train the missing runs, evaluate all alike, test the differences.

::

    comparison.json  comparison.md  comparison.png    the result
    configs/LABEL.yaml                                configuration of each system
    runs/LABEL-seedN/, LABEL-foldF-seedN/             run directories
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from ld4mrec_cli import __version__
from ld4mrec_cli.config import config_to_yaml
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.evaluation.fold_difference import FoldSample
from ld4mrec_cli.evaluation.mean_difference import Sample
from ld4mrec_cli.evaluation.ranking import NonFiniteScoresError
from ld4mrec_cli.evaluation.significance import RESAMPLES, PairedTest, compare_all
from ld4mrec_cli.experiments.compare.given import LISTS, GivenSystem, read_given
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
from ld4mrec_cli.experiments.compare.samples import (
    FoldUsers,
    SystemRuns,
    UserValues,
    seed_sample,
)
from ld4mrec_cli.experiments.compare.systems import System
from ld4mrec_cli.experiments.directories import lock_directory
from ld4mrec_cli.experiments.subprocess_training import (
    Reporter,
    TrainingFailed,
    train_in_subprocess,
)
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.serving.given_lists import ReadLists, evaluate_given
from ld4mrec_cli.utils.errors import OutputError, TrainingInterrupted, UserError
from ld4mrec_cli.utils.files import write_json, write_text

BOOTSTRAP_SEED = 0
"""Seed of the bootstrap, so that the same runs give the same intervals."""


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
        find_run(planned, plan.of_fold(planned.fold))  # refuse before hours of training
    given = {
        system.label: read_given(system, plan.datasets, plan.on_unknown, log)
        for system in plan.given
    }
    _create_directory(plan)
    runs = [_train(planned, plan, train, log) for planned in planned_runs]
    labels = [*(one.label for one in plan.systems), *given]
    results = {label: SystemRuns() for label in labels}
    for planned, run in zip(planned_runs, runs, strict=True):
        _evaluate(planned, run, plan, results[planned.system.label], log)
    for label, lists in given.items():
        _evaluate_lists(label, lists, plan, results[label], log)
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
        dataset = plan.of_fold(planned.fold)
        return finish_run(planned, plan.config_file(planned.system), dataset, train, log)
    except (TrainingFailed, UserError) as error:
        log(f"{planned.title}: failed, the others go on")
        return str(error)


def _evaluate(
    planned: PlannedRun, run: RunDirectory | str, plan: Plan, results: SystemRuns, log: Reporter
) -> None:
    """Evaluate a run and add its metrics to ``results``."""
    path = planned.path.relative_to(plan.out).as_posix()
    failed = RunResult(seed=planned.seed, path=path, fold=planned.fold)
    if isinstance(run, str):
        results.runs.append(failed.model_copy(update={"error": run}))
        return
    log(f"{planned.title}: evaluating on the {plan.split} split")
    options = plan.options.model_copy(update={"batch_size": planned.config.evaluation.batch_size})
    start = time.monotonic()
    try:
        evaluation = evaluate_run(run, plan.of_fold(planned.fold), plan.split, options, plan.device)
    except (UserError, NonFiniteScoresError) as error:
        results.runs.append(failed.model_copy(update={"error": str(error)}))
        return
    seconds = time.monotonic() - start
    manifest = run.manifest
    results.per_user.append(UserValues.of(evaluation, planned.fold, plan.tested))
    results.runs.append(
        RunResult(
            seed=planned.seed,
            path=path,
            fold=planned.fold,
            best_epoch=manifest.best.epoch if manifest.best else None,
            device=manifest.device,
            training_seconds=manifest.seconds,
            peak_memory_mb=manifest.peak_memory_mb,
            evaluation_seconds=seconds,
            users_per_second=len(evaluation.users) / max(seconds, 1e-9),
            metrics=evaluation.metrics,
        )
    )


def _evaluate_lists(
    label: str,
    lists: Sequence[Sequence[ReadLists]],
    plan: Plan,
    results: SystemRuns,
    log: Reporter,
) -> None:
    """Evaluate the lists of each fold and seed and add their metrics to ``results``."""
    for fold, of_seeds in zip(plan.folds, lists, strict=True):
        for seed, one in enumerate(of_seeds):
            log(f"{label}: evaluating {one.where} on the {plan.split} split")
            found = evaluate_given(one, plan.of_fold(fold), plan.split, plan.options, log)
            results.per_user.append(UserValues.of(found, fold, plan.tested))
            run = RunResult(seed=seed, path=str(one.where), fold=fold, metrics=found.metrics)
            results.runs.append(run)


def _summarize(plan: Plan, results: Mapping[str, SystemRuns]) -> Comparison:
    systems = [
        *(_system_result(system, results[system.label].runs) for system in plan.systems),
        *(_given_result(system, results[system.label].runs) for system in plan.given),
    ]
    working = [system.label for system in systems if system.worked]
    uses_seed = {system.label: system.uses_seed for system in systems}
    folds = FoldUsers(plan.datasets, plan.split) if len(plan.datasets) > 1 else None
    samples: dict[str, list[Sample] | list[FoldSample]] = {}
    for metric in plan.tested:
        if folds is None:
            samples[metric] = [
                seed_sample(results[label], metric, uses_seed[label]) for label in working
            ]
        else:
            samples[metric] = [folds.sample(results[label], metric) for label in working]
    tests = compare_all(samples, BOOTSTRAP_SEED)
    n_users = None
    if working:
        n_users = len(results[working[0]].per_user[0].users) if folds is None else len(folds)
    return Comparison(
        ld4mrec=__version__,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        dataset=_describe(plan.dataset),
        folds=[_describe(dataset) for dataset in plan.datasets] if folds else [],
        split=plan.split,
        mask=plan.options.mask,
        k=list(plan.options.k),
        n_users=n_users,
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


def _describe(dataset: Dataset) -> DatasetRecord:
    n_users, n_items = dataset.shape
    return DatasetRecord(
        name=dataset.name,
        path=str(dataset.directory),
        hash=dataset.hash,
        n_users=n_users,
        n_items=n_items,
    )


def _system_result(system: System, runs: list[RunResult]) -> SystemResult:
    return SystemResult.of(
        label=system.label,
        model=system.config.model_name,
        config_file=system.source,
        uses_seed=system.uses_seed,
        runs=runs,
    )


def _given_result(system: GivenSystem, runs: list[RunResult]) -> SystemResult:
    """Whether another seed would give other lists is not known, so it may."""
    return SystemResult.of(
        label=system.label, model=LISTS, config_file=None, uses_seed=True, runs=runs
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
