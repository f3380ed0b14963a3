"""One trial of a search: train with its values, and say what came of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ld4mrec_cli.config import Config, iter_differences
from ld4mrec_cli.experiments.tune.pruning import IsBehind
from ld4mrec_cli.experiments.tune.records import MAY_DIFFER, Trial
from ld4mrec_cli.experiments.tune.space import with_values
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.training.session import Callbacks, resume
from ld4mrec_cli.training.session import train as run_training
from ld4mrec_cli.training.trainer import EpochReport, Trainer
from ld4mrec_cli.utils.errors import (
    DatasetError,
    DeviceError,
    OutputError,
    RunError,
    TrainingDiverged,
    TrainingInterrupted,
    UserError,
)
from ld4mrec_cli.utils.memory import is_out_of_memory

NOT_OF_A_TRIAL = (DatasetError, DeviceError, OutputError, RunError, TrainingInterrupted)
"""Errors that the next trial would meet too: they end the search."""


class _Cut(Exception):
    """Stops the training of a trial: it fell behind in ``epoch``, or, without one, the time is up."""

    def __init__(self, epoch: int | None = None) -> None:
        super().__init__()
        self.epoch = epoch


def run_trial(
    number: int,
    base: Config,
    values: Mapping[str, Any],
    path: Path,
    seconds_left: float,
    is_behind: IsBehind,
    callbacks: Callbacks,
) -> Trial:
    """Train ``base`` with other values in the run directory ``path``, or finish what a kill cut short there.

    Training stops at the first validated epoch that ``is_behind``, or after ``seconds_left``. A fault of these values
    is in the trial that is returned; what would end the search is raised: NOT_OF_A_TRIAL, an interruption, and any
    fault of trial 0, whose values are the user's own.
    """
    started, before = time.monotonic(), _seconds_before(path)
    outcome: dict[str, Any]
    try:
        config = with_values(base, values)
        outcome = _result(
            _train(config, path, seconds_left - before, is_behind, callbacks), config, is_behind
        )
    except TrainingDiverged as error:
        outcome = {"status": "failed", "reason": str(error)}
    except NOT_OF_A_TRIAL:
        raise
    except UserError as error:
        if number == 0:
            raise
        outcome = {"status": "invalid", "reason": str(error)}
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        outcome = {"status": "failed", "reason": "out of memory"}
    seconds = before + time.monotonic() - started
    return Trial(
        number=number, values=dict(values), seconds=seconds, seed=base.training.seed, **outcome
    )


def _seconds_before(path: Path) -> float:
    """Seconds that an earlier start of the trial took."""
    try:
        return RunDirectory.open(path).manifest.seconds
    except RunError:
        return 0.0


def _train(
    config: Config, path: Path, seconds: float, is_behind: IsBehind, callbacks: Callbacks
) -> RunDirectory:
    left = _leftover(path, config)
    if left and not left.is_unfinished:
        if not _was_cut(left, config) or seconds <= 0.0 or _is_behind(left, is_behind):
            return left
        shutil.rmtree(path)  # cut by a rule or a budget that is no more
        left = None
    watched = _watched(callbacks, seconds, config.training.metric, is_behind)
    try:
        return resume(path, config, watched) if left else run_training(config, path, watched)
    except _Cut as cut:
        # As if max_epochs had been the epochs done: the best weights become those that are served. Epochs after the
        # last checkpoint are run again where the rule cut the trial, and are given up where the time is up.
        epochs = cut.epoch or RunDirectory.open(path).manifest.epochs
        return resume(path, with_values(config, {"training.max_epochs": epochs}), Callbacks())


def _watched(callbacks: Callbacks, seconds: float, metric: str, is_behind: IsBehind) -> Callbacks:
    """A callbacks that cuts the training at a validated epoch: where it is behind, or after so many seconds."""
    started, curve = time.monotonic(), dict[int, float]()

    def judge(report: EpochReport) -> None:
        if report.valid is not None:
            curve[report.epoch] = report.valid[metric]
            if is_behind(curve):
                raise _Cut(report.epoch)

    def on_start(trainer: Trainer) -> None:
        callbacks.on_start(trainer)
        for report in trainer.progress.history:  # of an earlier start
            judge(report)

    def on_epoch(report: EpochReport) -> None:
        callbacks.on_epoch(report)
        judge(report)
        if report.valid is not None and time.monotonic() - started >= seconds:
            raise _Cut

    return replace(callbacks, on_start=on_start, on_epoch=on_epoch)


def _was_cut(run: RunDirectory, config: Config) -> bool:
    return run.config.training.max_epochs < config.training.max_epochs


def _is_behind(run: RunDirectory, is_behind: IsBehind) -> bool:
    return is_behind(run.validation_curve(run.config.training.metric))


def _leftover(path: Path, config: Config) -> RunDirectory | None:
    """The run that a kill cut short, or that was not written down yet; one that cannot be used is removed."""
    try:
        run = RunDirectory.open(path)
        kept = (*MAY_DIFFER, "training.max_epochs")
        same = not any(iter_differences(run.manifest.config, config.model_dump(mode="json"), kept))
        if same and run.manifest.status != "diverged":
            return run
    except RunError:  # killed before there was a manifest
        pass
    if path.exists():
        shutil.rmtree(path)
    return None


def _result(run: RunDirectory, config: Config, is_behind: IsBehind) -> dict[str, Any]:
    """What a trial's run says of it."""
    best, epochs = run.manifest.best, run.manifest.epochs
    if best is None:
        return {"status": "failed", "reason": "no epoch was validated", "epochs": epochs}
    status = "complete"
    if _was_cut(run, config):
        status = "pruned" if _is_behind(run, is_behind) else "timed_out"
    return {"status": status, "valid": best.valid, "best_epoch": best.epoch, "epochs": epochs}
