"""The runs of a study: made, continued, or taken as they are where they are finished already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ld4mrec_cli.config import differences
from ld4mrec_cli.data.dataset import PreparedDataset
from ld4mrec_cli.errors import RunError
from ld4mrec_cli.files import remove_temporaries
from ld4mrec_cli.studies.execution import Say, TrainingFailed
from ld4mrec_cli.studies.plan import Job
from ld4mrec_cli.training.checkpoint import MANIFEST, RunDirectory

Train = Callable[[Sequence[str], Say], None]
"""Runs `ld4mrec train` with the given arguments, as :func:`ld4mrec_cli.studies.execution.train_apart` does."""

WITHOUT_EFFECT = {"name", "preset", "prepare", "evaluation", "data.path"}
"""Settings that do not change what is trained; the dataset is compared by its hash."""


def find_run(job: Job, dataset: PreparedDataset) -> RunDirectory | None:
    """The run that an earlier start of the study left in this place, None where there is none.

    Raises:
        RunError: it is damaged, being trained, or of other settings or data.
    """
    if not (job.path / MANIFEST).is_file():
        return None
    run = RunDirectory.open(job.path)
    hint = "Choose another --out"
    if run.manifest.dataset.hash != dataset.hash:
        raise RunError("was trained on other data", where=job.path, hint=hint)
    # As written: a setting that the run did not know must not count as today's default.
    for key, was, now in sorted(differences(run.manifest.config, job.config.model_dump(mode="json"), WITHOUT_EFFECT)):
        raise RunError(f"{key} was {was!r} in this run and is {now!r} now", where=job.path, hint=hint)
    if run.is_locked():
        raise RunError("is being trained by another process", where=job.path, hint=hint)
    return run


def finish_run(job: Job, config_file: Path, dataset: PreparedDataset, train: Train, say: Say) -> RunDirectory:
    """Train the run, continue it, or take it as it is.

    Raises:
        TrainingFailed: the training was refused or failed, now or before.
    """
    run = find_run(job, dataset)
    if run and run.manifest.status == "diverged":
        raise TrainingFailed("diverged")
    if run and not run.is_unfinished:
        say(f"{job.title}: trained already")
        return run
    arguments = [f"--run={job.path}", f"--data={dataset.directory}"]
    if run:
        arguments.append("--resume")
    else:
        remove_temporaries(job.path)  # of a training that was killed before it had a manifest
        arguments += [f"--config={config_file}", f"--seed={job.seed}"]
    train(arguments, lambda line: say(f"{job.title}: {line}"))
    return RunDirectory.open(job.path)
