"""The runs of a study: made, continued, or taken as they are where they are finished already."""

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
"""Runs `ld4mrec train` with the given arguments, as :func:`ld4mrec_cli.experiments.subprocess_training.train_in_subprocess` does."""

WITHOUT_EFFECT = {"name", "preset", "prepare", "evaluation", "data.path"}
"""Settings that do not change what is trained; the dataset is compared by its hash."""


def find_run(planned: PlannedRun, dataset: Dataset) -> RunDirectory | None:
    """The run that an earlier start of the study left in this place, None where there is none.

    Raises:
        RunError: it is damaged, being trained, or of other settings or data.
    """
    if not (planned.path / MANIFEST).is_file():
        return None
    run = RunDirectory.open(planned.path)
    hint = "Choose another --out"
    if run.manifest.dataset.hash != dataset.hash:
        raise RunError("was trained on other data", where=planned.path, hint=hint)
    # As written: a setting that the run did not know must not count as today's default.
    for key, was, now in sorted(
        iter_differences(
            run.manifest.config, planned.config.model_dump(mode="json"), WITHOUT_EFFECT
        )
    ):
        raise RunError(
            f"{key} was {was!r} in this run and is {now!r} now", where=planned.path, hint=hint
        )
    if run.is_locked():
        raise RunError("is being trained by another process", where=planned.path, hint=hint)
    return run


def finish_run(
    planned: PlannedRun, config_file: Path, dataset: Dataset, train: Train, log: Reporter
) -> RunDirectory:
    """Train the run, continue it, or take it as it is.

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
        remove_temporaries(planned.path)  # of a training that was killed before it had a manifest
        arguments += [f"--config={config_file}", f"--seed={planned.seed}"]
    train(arguments, lambda line: log(f"{planned.title}: {line}"))
    return RunDirectory.open(planned.path)
