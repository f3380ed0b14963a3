"""One trial of a search: train with its values, and record the result."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ld4mrec_cli.config import Config, iter_differences
from ld4mrec_cli.experiments.tune.records import MAY_DIFFER, Trial
from ld4mrec_cli.experiments.tune.space import with_values
from ld4mrec_cli.experiments.tune.suggest import IsBehind
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

SEARCH_ERRORS = (DatasetError, DeviceError, OutputError, RunError, TrainingInterrupted)
"""Errors that all trials would have: they end the search."""


class _StopTrial(Exception):
    """Stops a trial: pruned in ``epoch``; without an epoch, the time is up."""

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
    """Train ``base`` with other values in the run directory ``path``.

    A run that a kill left in ``path`` is continued. Training stops at the first validated epoch
    that ``is_behind``, or after ``seconds_left``. An error that comes from the values is recorded
    in the trial. Errors that end the search are raised: SEARCH_ERRORS, an interruption, and any
    error of trial 0, which has the user's own values.
    """
    start, before = time.monotonic(), _previous_seconds(path)
    outcome: dict[str, Any]
    try:
        config = with_values(base, values)
        outcome = _result(
            _train(config, path, seconds_left - before, is_behind, callbacks), config, is_behind
        )
    except TrainingDiverged as error:
        outcome = {"status": "failed", "reason": str(error)}
    except SEARCH_ERRORS:
        raise
    except UserError as error:
        if number == 0:
            raise
        outcome = {"status": "invalid", "reason": str(error)}
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        outcome = {"status": "failed", "reason": "out of memory"}
    seconds = before + time.monotonic() - start
    return Trial(
        number=number, values=dict(values), seconds=seconds, seed=base.training.seed, **outcome
    )


def _previous_seconds(path: Path) -> float:
    """Seconds that the trial took before it was interrupted."""
    try:
        return RunDirectory.open(path).manifest.seconds
    except RunError:
        return 0.0


def _train(
    config: Config, path: Path, seconds: float, is_behind: IsBehind, callbacks: Callbacks
) -> RunDirectory:
    run = _open_previous(path, config)
    if run and not run.is_unfinished:
        if not _was_stopped(run, config) or seconds <= 0.0 or _is_behind(run, is_behind):
            return run
        shutil.rmtree(path)  # stopped by another rule or budget
        run = None
    stopping = _stop_early(callbacks, seconds, config.training.metric, is_behind)
    try:
        return resume(path, config, stopping) if run else run_training(config, path, stopping)
    except _StopTrial as stop:
        # Finish the run with max_epochs as its epochs, so that the best weights are saved. Epochs
        # after the last checkpoint are repeated if the trial is pruned, and dropped if time is up.
        epochs = stop.epoch or RunDirectory.open(path).manifest.epochs
        return resume(path, with_values(config, {"training.max_epochs": epochs}), Callbacks())


def _stop_early(
    callbacks: Callbacks, seconds: float, metric: str, is_behind: IsBehind
) -> Callbacks:
    """Callbacks that stop the training at a validated epoch: if it is behind, or after a time."""
    start, curve = time.monotonic(), dict[int, float]()

    def check(report: EpochReport) -> None:
        if report.valid is not None:
            curve[report.epoch] = report.valid[metric]
            if is_behind(curve):
                raise _StopTrial(report.epoch)

    def on_start(trainer: Trainer) -> None:
        callbacks.on_start(trainer)
        for report in trainer.progress.history:  # before the interruption
            check(report)

    def on_epoch(report: EpochReport) -> None:
        callbacks.on_epoch(report)
        check(report)
        if report.valid is not None and time.monotonic() - start >= seconds:
            raise _StopTrial

    return replace(callbacks, on_start=on_start, on_epoch=on_epoch)


def _was_stopped(run: RunDirectory, config: Config) -> bool:
    return run.config.training.max_epochs < config.training.max_epochs


def _is_behind(run: RunDirectory, is_behind: IsBehind) -> bool:
    return is_behind(run.validation_curve(run.config.training.metric))


def _open_previous(path: Path, config: Config) -> RunDirectory | None:
    """Open the run that a kill left in ``path``; one that does not fit is removed."""
    try:
        run = RunDirectory.open(path)
        ignored = (*MAY_DIFFER, "training.max_epochs")
        now = config.model_dump(mode="json")
        is_same = not any(iter_differences(run.manifest.config, now, ignored))
        if is_same and run.manifest.status != "diverged":
            return run
    except RunError:  # killed before there was a manifest
        pass
    if path.exists():
        shutil.rmtree(path)
    return None


def _result(run: RunDirectory, config: Config, is_behind: IsBehind) -> dict[str, Any]:
    """Status and metrics of a trial, from its run."""
    best, epochs = run.manifest.best, run.manifest.epochs
    if best is None:
        return {"status": "failed", "reason": "no epoch was validated", "epochs": epochs}
    status = "complete"
    if _was_stopped(run, config):
        status = "pruned" if _is_behind(run, is_behind) else "timed_out"
    return {"status": status, "valid": best.valid, "best_epoch": best.epoch, "epochs": epochs}
