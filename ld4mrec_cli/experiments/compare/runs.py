"""The runs of a comparison: trained, continued, or reused if they are finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ld4mrec_cli.config import iter_differences
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.experiments.compare.plan import PlannedRun
from ld4mrec_cli.experiments.subprocess_training import Reporter, TrainingFailed
from ld4mrec_cli.runs.run_directory import MANIFEST, RunDirectory
from ld4mrec_cli.utils.errors import RunError
from ld4mrec_cli.utils.workspace import remove_temporaries

Train = Callable[[Sequence[str], Reporter], None]
"""Runs `ld4mrec train` with arguments; see :func:`train_in_subprocess`."""

WITHOUT_EFFECT = {"name", "preset", "prepare", "evaluation", "data.path"}
"""Settings that do not change what is trained; the dataset is compared by its hash."""


def find_run(planned: PlannedRun, dataset: Dataset) -> RunDirectory | None:
    """Open the run of an earlier start of the comparison; None if there is none.

    Raises:
        RunError: it is damaged, being trained, or of other settings or data.
    """
    if not (planned.path / MANIFEST).is_file():
        return None
    run = RunDirectory.open(planned.path)
    hint = "Choose another --out"
    if run.manifest.dataset.hash != dataset.hash:
        raise RunError("was trained on other data", where=planned.path, hint=hint)
    # The saved mapping, not a Config: a setting that the run lacks must not count as its default.
    saved, now = run.manifest.config, planned.config.model_dump(mode="json")
    for key, before, after in sorted(iter_differences(saved, now, WITHOUT_EFFECT)):
        message = f"{key} was {before!r} in this run and is {after!r} now"
        raise RunError(message, where=planned.path, hint=hint)
    if run.is_locked():
        raise RunError("is being trained by another process", where=planned.path, hint=hint)
    return run


def finish_run(
    planned: PlannedRun, config_file: Path, dataset: Dataset, train: Train, log: Reporter
) -> RunDirectory:
    """Train the run, continue it, or reuse it.

    Raises:
        TrainingFailed: the training was refused or failed, now or before.
    """
    run = find_run(planned, dataset)
    if run and run.manifest.status == "diverged":
        raise TrainingFailed("diverged")
    if run and not run.is_unfinished:
        log(f"{planned.title}: trained already")
        return run
    arguments = [f"--run={planned.path}", f"--data={dataset.directory}"]
    if run:
        arguments.append("--resume")
    else:
        remove_temporaries(planned.path)  # a training was killed before its manifest
        arguments += [f"--config={config_file}", f"--seed={planned.seed}"]
    train(arguments, lambda line: log(f"{planned.title}: {line}"))
    return RunDirectory.open(planned.path)
