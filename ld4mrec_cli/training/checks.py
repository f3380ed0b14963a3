"""What must fit together before a training starts or goes on; each check raises a UserError."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ld4mrec_cli.config import Config, iter_differences, resumable_keys
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.validation import leave_out_learned
from ld4mrec_cli.models.ld4mrec.guidance import COLLABORATIVE
from ld4mrec_cli.runs.learned import inherited_by
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.utils.distributed import Group
from ld4mrec_cli.utils.errors import ConfigError, RunError


def check_group(config: Config, group: Group) -> None:
    """Raise ConfigError where several processes would train a model that one trains."""
    if group.size > 1 and config.model_name != "ld4mrec":
        raise ConfigError(
            f"{config.model_name} is trained by one process", hint="Train it without torchrun"
        )


def check_times(config: Config, dataset: Dataset) -> None:
    """Raise ConfigError where a half-life is set and the dataset has no times."""
    half_lives = {"data.history_half_life": config.data.history_half_life}
    if config.model_name == "ld4mrec":
        half_lives["model.trend_half_life"] = config.model.trend_half_life
    for key, half_life in half_lives.items():
        if isinstance(half_life, float) and not dataset.has_times:
            hint = "Leave it at auto, or prepare data with a timestamp column"
            raise ConfigError(f"{key} is set, but {dataset.directory} has no times", hint=hint)


def check_modalities(config: Config, modalities: tuple[str, ...]) -> None:
    """Check that the modalities that settings name are there. Raises ConfigError."""
    signals = (COLLABORATIVE, *modalities)
    for name in config.model.guidance or ():
        if name not in signals:
            raise ConfigError(
                f"model.guidance names '{name}', but the signals are {', '.join(signals)}"
            )
    for section in config.spec.sections:
        for key, value in getattr(config, section):
            for name in value if isinstance(value, Mapping) else ():  # weights by modality
                if name not in modalities:
                    what = f"{section}.{key} names '{name}', but the modalities are "
                    raise ConfigError(what + (", ".join(modalities) or "none"))


def check_validation(init: RunDirectory, dataset: Dataset) -> None:
    """Raise DatasetError if the weights of a run have learned most of the validation split."""
    learned = inherited_by(init, dataset, (Split.TRAIN,))
    targets = dataset.matrix(Split.VALID)
    leave_out_learned(targets, learned, Split.VALID, dataset, lambda text: None)


def check_resumable(run: RunDirectory, config: Config) -> None:
    """Raise ConfigError where settings differ from the run's that must not be changed."""
    saved, now = run.manifest.config, config.model_dump(mode="json")
    for key, before, after in sorted(iter_differences(saved, now, resumable_keys())):
        hint = "Resume with the run's own settings, or start a new run without --resume"
        raise ConfigError(
            f"{key} was {before!r} in this run and is {after!r} now", where=run.path, hint=hint
        )


def check_same_init(run: RunDirectory, init: RunDirectory | None) -> None:
    """Raise RunError if ``init`` is another run than the one that ``run`` started from."""
    source = run.manifest.init_from
    if init is None or (source and Path(source.run) == init.path.resolve()):
        return
    before = f"started from {source.run}" if source else "did not start from another run"
    hint = "Resume without --init, or start a new run without --resume"
    raise RunError(f"this run {before}, not from {init.path}", where=run.path, hint=hint)
