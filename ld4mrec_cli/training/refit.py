"""Train a finished run's settings again on every interaction, to serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ld4mrec_cli.config import Config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.runs.evaluate import open_run_dataset
from ld4mrec_cli.runs.manifest import RefitSource
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.warm_start import open_init
from ld4mrec_cli.training.choices import Choices
from ld4mrec_cli.training.session import Callbacks, start_training
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import RunError


def refit(
    run: RunDirectory,
    data: Path | None,
    out: Path | None,
    callbacks: Callbacks,
    group: Group = SINGLE_PROCESS,
    device: str | None = None,
) -> RunDirectory:
    """Train a run's settings for its number of epochs on all splits, without validation.

    Nothing is chosen here: the epoch was chosen by the validation of ``run``. A refit can be refit
    again, on newer data. Of a run that started from another run, the refit starts from that one,
    too: its number of epochs counts from there.

    Args:
        run: a complete run.
        data: the dataset, which may be a newer one; None: the run's own.
        out: run directory to write; None: ``runs/NAME-TIME``.
        callbacks: progress.
        group: processes that share the training.
        device: None: the device setting of ``run``.

    Raises:
        RunError: ``run`` is not complete, or ``out`` exists.
        DatasetError: the dataset is missing or damaged, or lacks a modality of the run.
    """
    manifest = run.manifest
    if manifest.status != "complete":
        hint = "Refit a run whose training ended"
        raise RunError(f"this run is {manifest.status}", where=run.path, hint=hint)
    dataset = open_run_dataset(run, data)
    epochs = manifest.best.epoch if manifest.best else manifest.epochs
    source = RefitSource(
        run=str(run.path.resolve()),
        started=manifest.started,
        epochs=epochs,
        dataset_hash=manifest.dataset.hash,
    )
    config = _refit_config(run.settled_config, dataset, manifest.dataset.modalities, epochs, device)
    init = None if manifest.init_from is None else open_init(manifest.init_from)
    choices = Choices(
        manifest.mixture, manifest.dataset.history_half_life, manifest.trend_half_life
    )
    return start_training(config, dataset, out, callbacks, group, source, choices, init)


def _refit_config(
    config: Config, dataset: Dataset, modalities: list[str], epochs: int, device: str | None
) -> Config:
    """The run's configuration, with the dataset, its own modalities and its number of epochs."""
    training = {"max_epochs": epochs, **({} if device is None else {"device": device})}
    data: dict[str, Any] = {"path": dataset.directory}
    if config.spec.reads_features:  # a newer dataset may have more of them
        data |= {"modalities": tuple(modalities)}
    return config.model_copy(
        update={
            "training": config.training.model_copy(update=training),
            "data": config.data.model_copy(update=data),
        }
    )
