"""One trial of a search: train with its values, and say what came of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ld4mrec_cli import workflow
from ld4mrec_cli.config import Config, differences
from ld4mrec_cli.errors import (
    DatasetError,
    DeviceError,
    OutputError,
    RunError,
    TrainingDiverged,
    TrainingInterrupted,
    UserError,
)
from ld4mrec_cli.memory import is_out_of_memory
from ld4mrec_cli.studies.pruning import Curve, IsBehind
from ld4mrec_cli.studies.records import MAY_DIFFER, Trial
from ld4mrec_cli.studies.spaces import with_values
from ld4mrec_cli.training.checkpoint import RunDirectory
from ld4mrec_cli.training.trainer import EpochReport
from ld4mrec_cli.workflow import Watcher

NOT_OF_A_TRIAL = (DatasetError, DeviceError, OutputError, RunError, TrainingInterrupted)
"""Errors that the next trial would meet too: they end the search."""


class _Cut(Exception):
    """Stops the training of a trial: it fell behind, or the time is up."""


def run_trial(
    number: int,
    base: Config,
    values: Mapping[str, Any],
    path: Path,
    seconds_left: float,
    is_behind: IsBehind,
    watcher: Watcher,
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
        outcome = _result(_train(config, path, seconds_left - before, is_behind, watcher), config, is_behind)
    except TrainingDiverged as error:
        outcome = {"status": "failed", "reason": str(error)}
    except NOT_OF_A_TRIAL:
        raise
    except UserError as error:
        if number == 0:
            raise
        outcome = {"status": "refused", "reason": str(error)}
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        outcome = {"status": "failed", "reason": "out of memory"}
    seconds = before + time.monotonic() - started
    return Trial(number=number, values=dict(values), seconds=seconds, seed=base.training.seed, **outcome)


def _seconds_before(path: Path) -> float:
    """Seconds that an earlier start of the trial took."""
    try:
        return RunDirectory.open(path).manifest.seconds
    except RunError:
        return 0.0


def _train(config: Config, path: Path, seconds: float, is_behind: IsBehind, watcher: Watcher) -> RunDirectory:
    left = _leftover(path, config)
    if left and not left.is_unfinished:
        return left
    before = left.validation_curve(config.training.metric) if left else {}
    watched = _watched(watcher, seconds, config.training.metric, before, is_behind)
    try:
        return workflow.resume(path, config, watched) if left else workflow.train(config, path, watched)
    except _Cut:
        # As if max_epochs had been the epochs done: the best weights become those that are served.
        epochs = RunDirectory.open(path).manifest.epochs
        return workflow.resume(path, with_values(config, {"training.max_epochs": epochs}), Watcher())


def _watched(watcher: Watcher, seconds: float, metric: str, before: Curve, is_behind: IsBehind) -> Watcher:
    """A watcher that cuts the training at a validated epoch: after so many seconds, or where it is behind.

    ``before`` is the curve of an earlier start; epochs of it may be run again.
    """
    started, curve = time.monotonic(), dict(before)

    def on_epoch(report: EpochReport) -> None:
        watcher.on_epoch(report)
        if report.valid is None:
            return
        curve[report.epoch] = report.valid[metric]
        so_far = {epoch: value for epoch, value in curve.items() if epoch <= report.epoch}
        if time.monotonic() - started >= seconds or is_behind(so_far):
            raise _Cut

    return replace(watcher, on_epoch=on_epoch)


def _leftover(path: Path, config: Config) -> RunDirectory | None:
    """The run that a kill cut short, or that was not written down yet; one that cannot be used is removed."""
    try:
        run = RunDirectory.open(path)
        kept = (*MAY_DIFFER, "training.max_epochs")
        same = not any(differences(run.manifest.config, config.model_dump(mode="json"), kept))
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
    was_cut = run.config.training.max_epochs < config.training.max_epochs
    cut = "pruned" if was_cut and is_behind(run.validation_curve(config.training.metric)) else "stopped"
    status = cut if was_cut else "complete"
    return {"status": status, "valid": best.valid, "best_epoch": best.epoch, "epochs": epochs}
