"""Compare contenders: train what is not trained yet, evaluate all under one protocol, test the differences.

::

    comparison.json  comparison.md  comparison.png    the result
    configs/LABEL.yaml                                what each contender was trained with
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
from ld4mrec_cli.errors import OutputError, TrainingInterrupted, UserError
from ld4mrec_cli.evaluation.ranking import NonFiniteScores
from ld4mrec_cli.evaluation.significance import RESAMPLES, PairedTest, compare_all
from ld4mrec_cli.files import write_json, write_text
from ld4mrec_cli.studies.contenders import Contender
from ld4mrec_cli.studies.execution import Say, TrainingFailed, train_apart
from ld4mrec_cli.studies.plan import Job, Plan
from ld4mrec_cli.studies.results import (
    FORMAT,
    RESULT,
    VERSION,
    Comparison,
    ContenderResult,
    DatasetRecord,
    PairResult,
    RunResult,
)
from ld4mrec_cli.studies.runs import Train, find_run, finish_run
from ld4mrec_cli.training.checkpoint import RunDirectory
from ld4mrec_cli.workflow import evaluate_run

BOOTSTRAP_SEED = 0
"""The same runs give the same intervals."""

PerUser = Mapping[str, np.ndarray]
"""Values of each user ``(n_users,)`` by metric."""


@dataclass
class _Scored:
    """What the runs of one contender gave."""

    runs: list[RunResult] = field(default_factory=list)
    per_user: list[PerUser] = field(default_factory=list)


def compare(plan: Plan, say: Say, train: Train = train_apart) -> Comparison:
    """Do what the plan says. A contender that fails is part of the result; the others go on.

    The split is opened when all trainings have ended.

    Raises:
        RunError: ``plan.out`` holds a run of other settings or data, or one that is being trained.
        TrainingInterrupted: the same comparison goes on from there.
    """
    jobs = plan.jobs()
    for job in jobs:
        find_run(job, plan.dataset)  # what cannot go on is refused before hours of training
    _begin(plan)
    try:
        trained = [_train(job, plan, train, say) for job in jobs]
        scored = {contender.label: _Scored() for contender in plan.contenders}
        for job, run in zip(jobs, trained, strict=True):
            _evaluate(job, run, plan, scored[job.contender.label], say)
        return _summary(plan, scored)
    except KeyboardInterrupt:
        hint = f"Give the same command with --out {plan.out} to go on from there"
        raise TrainingInterrupted("interrupted", hint=hint) from None


def _begin(plan: Plan) -> None:
    """Make the directory and mark it as a comparison; an earlier result stays until there is a new one."""
    try:
        for name in ("configs", "runs"):
            (plan.out / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=plan.out) from None
    if not (plan.out / RESULT).exists():
        write_json(plan.out / RESULT, {"format": FORMAT, "version": VERSION, "status": "running"})
    for contender in plan.contenders:
        write_text(plan.config_file(contender), config_to_yaml(contender.config))


def _train(job: Job, plan: Plan, train: Train, say: Say) -> RunDirectory | str:
    """The finished run, or why there is none."""
    try:
        return finish_run(job, plan.config_file(job.contender), plan.dataset, train, say)
    except (TrainingFailed, UserError) as error:
        say(f"{job.title}: failed, the others go on")
        return str(error)


def _evaluate(job: Job, run: RunDirectory | str, plan: Plan, scored: _Scored, say: Say) -> None:
    """Evaluate a run and add what it gave to ``scored``."""
    path = job.path.relative_to(plan.out).as_posix()
    if isinstance(run, str):
        scored.runs.append(RunResult(seed=job.seed, path=path, error=run))
        return
    say(f"{job.title}: evaluating on the {plan.split} split")
    options = plan.options.model_copy(update={"batch_size": job.config.evaluation.batch_size})
    started = time.monotonic()
    try:
        found = evaluate_run(run, plan.dataset, plan.split, options, plan.device)
    except (UserError, NonFiniteScores) as error:
        scored.runs.append(RunResult(seed=job.seed, path=path, error=str(error)))
        return
    seconds = time.monotonic() - started
    manifest = run.manifest
    scored.per_user.append({name: found.per_user[name] for name in plan.tested})
    scored.runs.append(
        RunResult(
            seed=job.seed,
            path=path,
            best_epoch=manifest.best.epoch if manifest.best else None,
            device=manifest.device,
            training_seconds=manifest.seconds,
            peak_memory_mb=manifest.peak_memory_mb,
            evaluation_seconds=seconds,
            users_per_second=len(found.users) / max(seconds, 1e-9),
            metrics=found.metrics,
        )
    )


def _summary(plan: Plan, scored: Mapping[str, _Scored]) -> Comparison:
    contenders = [_contender_result(contender, scored[contender.label].runs) for contender in plan.contenders]
    working = [contender.label for contender in contenders if contender.worked]
    pairs = {metric: _test(metric, {label: scored[label].per_user for label in working}) for metric in plan.tested}
    dataset = plan.dataset
    n_users, n_items = dataset.shape
    return Comparison(
        ld4mrec=__version__,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        dataset=DatasetRecord(
            name=dataset.name, path=str(dataset.directory), hash=dataset.hash, n_users=n_users, n_items=n_items
        ),
        split=plan.split,
        mask=plan.options.mask,
        k=list(plan.options.k),
        n_users=len(scored[working[0]].per_user[0][plan.metric]) if working else None,
        metric=plan.metric,
        tested=list(plan.tested),
        seeds=list(plan.seeds),
        resamples=RESAMPLES,
        contenders=contenders,
        pairs=pairs,
    )


def _contender_result(contender: Contender, runs: list[RunResult]) -> ContenderResult:
    return ContenderResult.of(
        label=contender.label,
        model=contender.config.model_name,
        config_file=contender.source,
        uses_seed=contender.uses_seed,
        runs=runs,
    )


def _test(metric: str, per_user: Mapping[str, Sequence[PerUser]]) -> list[PairResult]:
    """Test every pair of contenders; the values of a user are averaged over seeds first."""
    if len(per_user) < 2:
        return []
    labels = list(per_user)
    values = np.stack([np.mean([run[metric] for run in per_user[label]], axis=0) for label in labels])
    tests = compare_all(values, np.random.default_rng(BOOTSTRAP_SEED), RESAMPLES)
    return [_pair_result(test, labels) for test in tests]


def _pair_result(test: PairedTest, labels: Sequence[str]) -> PairResult:
    return PairResult(
        a=labels[test.a],
        b=labels[test.b],
        difference=test.difference,
        low=test.low,
        high=test.high,
        rank_balance=test.rank_balance,
        p=test.p,
        p_holm=test.p_holm,
        a_better=test.a_better,
        b_better=test.b_better,
        equal=test.equal,
        significant=test.is_significant,
    )
