"""A training from configuration to finished run: train, resume, and what `refit` shares.

Dataset, model, trainer and run directory meet here; none of them knows the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config, apply_choice
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.evaluation.validation import (
    SplitValidator,
    make_validator,
)
from ld4mrec_cli.models.base import (
    ClosedFormRecommender,
    TrainableRecommender,
    load_parameters,
)
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals, ease_config
from ld4mrec_cli.models.ops.item_weights import describe_approximation
from ld4mrec_cli.models.registry import build_baseline, check_trainable, fit_closed_form
from ld4mrec_cli.plotting import plot_learning_curve
from ld4mrec_cli.runs.evaluate import check_same_dataset, open_run_dataset
from ld4mrec_cli.runs.learned import (
    as_table,
    inherited_by,
    inherited_interactions,
    training_splits,
)
from ld4mrec_cli.runs.manifest import BestEpoch, DatasetInfo, Manifest, RefitSource
from ld4mrec_cli.runs.paths import new_run_path, point_latest
from ld4mrec_cli.runs.run_directory import (
    CHECKPOINT,
    INHERITED,
    SIGNALS,
    TREND,
    WEIGHTS,
    RunDirectory,
)
from ld4mrec_cli.runs.versions import device_name, package_versions
from ld4mrec_cli.runs.warm_start import check_init, open_init, save_parameters, start_from
from ld4mrec_cli.training.auto_settings import choose_autos, find_autos
from ld4mrec_cli.training.checkpoint_throttle import CheckpointThrottle
from ld4mrec_cli.training.checks import (
    check_group,
    check_modalities,
    check_resumable,
    check_same_init,
    check_times,
    check_validation,
)
from ld4mrec_cli.training.choices import (
    Choices,
    Chooser,
    MixtureValidator,
    keep_choices,
    keep_half_life,
)
from ld4mrec_cli.training.trainer import EpochReport, Trainer
from ld4mrec_cli.utils.device import has_bf16, resolve_device
from ld4mrec_cli.utils.distributed import SINGLE_PROCESS, Group
from ld4mrec_cli.utils.errors import (
    ConfigError,
    DatasetError,
    RunError,
    TrainingDiverged,
    TrainingInterrupted,
)
from ld4mrec_cli.utils.memory import peak_memory_mb


@dataclass
class Callbacks:
    """Callbacks for progress; each does nothing unless replaced."""

    on_stage: Callable[[str], None] = lambda text: None
    """A step begins."""
    on_note: Callable[[str], None] = lambda text: None
    """A remark about the result that the user should read."""
    on_start: Callable[[Trainer], None] = lambda trainer: None
    """Epochs begin."""
    on_batch: Callable[[], None] = lambda: None
    on_epoch: Callable[[EpochReport], None] = lambda report: None


def open_dataset(config: Config) -> Dataset:
    """Open the dataset that the config names. Raises ConfigError or DatasetError."""
    if config.data.path is None:
        hint = "Set data.path in the config, or give --set data.path=data/NAME"
        raise ConfigError("no dataset is named", hint=hint)
    return Dataset.open(config.data.path)


def train(
    config: Config,
    run_path: Path | None,
    callbacks: Callbacks,
    group: Group = SINGLE_PROCESS,
    init: RunDirectory | None = None,
) -> RunDirectory:
    """Train a model and return the complete run.

    Processes in a ``group`` call this with the same arguments. They share a file system; only the
    main process writes. With ``init``, the training starts from the weights of that run.

    Raises:
        UserError: of any kind; TrainingDiverged and TrainingInterrupted leave a run directory.
    """
    check_group(config, group)
    _resolve_device(config, group)
    dataset = open_dataset(config)
    if not dataset.schema.splits[Split.VALID].interactions:
        hint = "Refit a run on it: `ld4mrec refit --run RUN --data DIR`; or prepare it with a split"
        raise DatasetError("the valid split is empty", where=dataset.directory, hint=hint)
    return start_training(config, dataset, run_path, callbacks, group, init=init)


def start_training(
    config: Config,
    dataset: Dataset,
    run_path: Path | None,
    callbacks: Callbacks,
    group: Group,
    refit_of: RefitSource | None = None,
    choices: Choices | None = None,
    init: RunDirectory | None = None,
) -> RunDirectory:
    """Make a run directory, train the run and return it, as :func:`train` does.

    With ``refit_of``, it is trained on every interaction and without validation, and scores as
    ``choices`` say.
    """
    check_group(config, group)
    device = _resolve_device(config, group)
    modalities = dataset.modality_names(config.data.modalities)
    check_modalities(config, modalities)
    if refit_of is None:
        check_times(config, dataset)
    check_trainable(config.model_name, dataset.shape[1], modalities, config.model_settings)
    init_from = None
    if init is not None:
        init_from = check_init(init, config, dataset, modalities)
        if refit_of is None:
            check_validation(init, dataset)
    name, choices = config.name or dataset.name, choices or Choices()
    manifest = Manifest(
        name=name,
        model=config.model_name,
        seed=config.training.seed,
        config=config.model_dump(mode="json"),
        dataset=DatasetInfo(
            path=str(dataset.directory.resolve()),
            name=dataset.name,
            hash=dataset.hash,
            n_users=dataset.shape[0],
            n_items=dataset.shape[1],
            modalities=list(modalities) if config.spec.reads_features else [],
            history_half_life=choices.history_half_life,
        ),
        versions=package_versions(),
        device=device_name(device),
        started=datetime.now().astimezone().isoformat(),
        refit_of=refit_of,
        mixture=choices.mixture,
        trend_half_life=choices.trend_half_life,
        init_from=init_from,
    )
    manifest = _note_weights(manifest, config, dataset)
    run = _create_run(run_path or new_run_path(name), manifest, config, group)
    with run.locked():
        return TrainingSession(run, config, dataset, device, callbacks, group).execute()


def resume(
    path: Path,
    config: Config | None,
    callbacks: Callbacks,
    group: Group = SINGLE_PROCESS,
    init: RunDirectory | None = None,
) -> RunDirectory:
    """Continue an unfinished run.

    With the run's own settings and device, the result equals that of a run without interruption.
    ``config`` (None: the run's own) may differ in settings that are marked as MAY_CHANGE_ON_RESUME,
    and in settings that only other models read. ``init`` may name the run that this one started
    from once more; the checkpoint has its own weights.

    Raises:
        RunError: the run is finished, damaged, or being trained by another process.
        ConfigError: ``config`` differs in another setting.
        DatasetError: the dataset is not the one that the run was trained on.
    """
    run = RunDirectory.open(path, writable=group.is_main_process)
    if not run.is_unfinished:
        raise RunError(f"this run is {run.manifest.status}, there is nothing to resume", where=path)
    config = config or run.config
    check_group(config, group)
    check_resumable(run, config)
    check_same_init(run, init)
    device = _resolve_device(config, group)
    moved = config.data.path if config.data.path != run.config.data.path else None
    dataset = open_run_dataset(run, moved)
    check_same_dataset(run, dataset)
    group.barrier()  # all have read the run before it is changed
    with run.locked():
        run.remove_temporaries()
        run.change_config(config)
        place = {"path": str(dataset.directory.resolve())}
        info = run.manifest.dataset.model_copy(update=place)
        run.update(status="running", device=device_name(device), dataset=info)
        return TrainingSession(run, config, dataset, device, callbacks, group).execute()


def _note_weights(manifest: Manifest, config: Config, dataset: Dataset) -> Manifest:
    """The manifest of a training, with the mean weight of its interactions where it reads them."""
    if not (config.data.use_weights and config.spec.reads_weights):
        return manifest
    mean_weight = dataset.mean_weight(*training_splits(manifest))
    info = manifest.dataset.model_copy(update={"mean_weight": mean_weight})
    return manifest.model_copy(update={"dataset": info})


def _create_run(path: Path, manifest: Manifest, config: Config, group: Group) -> RunDirectory:
    """Create the run directory in the main process and open it in all. Raises RunError."""
    error: RunError | None = None
    if group.is_main_process:
        try:
            path = RunDirectory.create(path, manifest, config).path
        except RunError as raised:
            error = raised
    created = group.broadcast("" if error else str(path))
    if error or not created:
        raise error or RunError("the first process could not make the run directory")
    return RunDirectory.open(Path(created), writable=group.is_main_process)


def _resolve_device(config: Config, group: Group) -> torch.device:
    """Device of the training; closed-form models always run on the CPU."""
    device = group.device_for(resolve_device(config.training.device))
    return torch.device("cpu") if config.spec.closed_form else device


class TrainingSession:
    """One training of a run, new or resumed."""

    def __init__(
        self,
        run: RunDirectory,
        config: Config,
        dataset: Dataset,
        device: torch.device,
        callbacks: Callbacks,
        group: Group,
    ) -> None:
        self.run = run
        self.config = config
        self.dataset = dataset
        self.device = device
        self.callbacks = callbacks
        self.group = group
        self.is_refit = run.manifest.refit_of is not None
        self.train_rows: csr_matrix = dataset.matrix(
            *training_splits(run.manifest),
            values=run.manifest.dataset.training_values,
        )
        self._started = time.monotonic() - run.manifest.seconds
        """Start of the training's clock; time spent before an interruption counts."""

    def execute(self) -> RunDirectory:
        """Do the rest of the training and return the complete run.

        Raises:
            TrainingInterrupted: by a KeyboardInterrupt; says how to go on.
            TrainingDiverged: see :class:`Trainer`.
        """
        try:
            return self._train()
        except KeyboardInterrupt:
            if not self.run.is_unfinished:
                raise
            self.run.update(status="interrupted")
            epoch = self.run.manifest.epochs
            what = f"interrupted after epoch {epoch}" if epoch else "interrupted"
            hint = f"Continue with `ld4mrec train --resume --run {self.run.path}`"
            raise TrainingInterrupted(what, hint=hint) from None

    def _train(self) -> RunDirectory:
        self.run.add_serving_tables(self.dataset)
        self._note_ignored_weights()
        self._inherit()  # what the validation leaves out, from here on
        self._settle_autos()
        if self.config.spec.closed_form:
            return self._fit_closed_form()
        model = self._build_model()
        self._start_from_init(model)
        return self._train_epochs(model.to(self.device))

    def _inherit(self) -> None:
        """Note what the run that this one starts from has learned, once."""
        source = self.run.manifest.init_from
        if source is not None and INHERITED not in self.run.manifest.files:
            splits = training_splits(self.run.manifest)
            self.run.save_inherited(as_table(inherited_by(open_init(source), self.dataset, splits)))
            self.group.barrier()
            self.run.reload()

    def _start_from_init(self, model: TrainableRecommender) -> None:
        """Give the model the weights of the run that it starts from; a checkpoint has its own."""
        source = self.run.manifest.init_from
        if source is None or self.run.has_checkpoint:
            return
        self.callbacks.on_stage(f"starting from {source.run}")
        start_from(open_init(source), model, self.dataset, self._note)

    @property
    def seconds(self) -> float:
        """Time of the training so far."""
        return time.monotonic() - self._started

    def _note_ignored_weights(self) -> None:
        config = self.config
        if config.spec.reads_weights or not config.data.use_weights:
            return
        if self.dataset.mean_weight(Split.TRAIN) is not None:
            self._note(
                f"{config.model_name} does not read the weights of the interactions: "
                "each counts as one"
            )

    def _note(self, text: str) -> None:
        """Tell the user a remark about the result, now and in the manifest."""
        self.callbacks.on_note(text)
        self.run.update(notes=list(dict.fromkeys([*self.run.manifest.notes, text])))

    @cached_property
    def _validate(self) -> SplitValidator | None:
        """The ``validate`` callable; None for a refit."""
        if self.is_refit:
            return None
        return make_validator(
            self.config.training,
            self.config.evaluation,
            self.dataset,
            self.train_rows,
            self._note,
            self.group,
            inherited_interactions(self.run),
        )

    def _make_epoch_validator(self) -> MixtureValidator | None:
        """The ``validate`` callable of the trainer; None for a refit."""
        training = self.config.training
        if self._validate is None:
            return None
        return MixtureValidator(self._validate, training.metric, training.seed)

    def _settle_autos(self) -> None:
        """Choose the settings that are ``auto`` before the training; a resumed run has them.

        The configuration of a refit has them, too.
        """
        if self._validate is None or not find_autos(self.config):
            return
        if self.group.is_main_process and self.run.manifest.chosen is None:
            chosen = choose_autos(
                self.config,
                self.train_rows,
                self._load_features(),
                self._validate,
                self.callbacks.on_stage,
            )
            self.run.update(chosen=chosen)
        self.group.barrier()
        self.run.reload()
        self.config = apply_choice(self.config, self.run.manifest.chosen or {})

    def _load_features(self) -> Mapping[str, np.ndarray]:
        names = self.run.manifest.dataset.modalities
        return {name: self.dataset.modality(name).values for name in names}

    def _build_model(self) -> TrainableRecommender:
        """The untrained model; for LD4MRec, item signals are computed where the run has none."""
        config = self.config
        if config.model_name != "ld4mrec":
            return build_baseline(
                config.model_name,
                self.train_rows,
                config.model_settings,
                self._load_features(),
                config.training.seed,
            )
        if self.group.is_main_process and SIGNALS not in self.run.manifest.files:
            self._compute_signals()
        self.group.barrier()
        self.run.reload()
        return LD4MRec(config.model, config.diffusion, config.training, self.run.load_signals())

    def _compute_signals(self) -> None:
        self.callbacks.on_stage("computing item signals")
        model, n_items = self.config.model, self.dataset.shape[1]
        features, seed = self._load_features(), self.config.training.seed
        signals = ItemSignals.compute(model, self.train_rows, features, seed)
        if model.ease:
            settings = ease_config(model)
            note = describe_approximation(n_items, settings, "model.ease_max_items")
            if note:
                self._note(note)
        self.run.save_signals(signals)

    def _fit_closed_form(self) -> RunDirectory:
        run, config = self.run, self.config
        name = config.model_name
        self.callbacks.on_stage(f"fitting {name}")
        model = fit_closed_form(
            name,
            self.train_rows,
            config.model_settings,
            self._load_features(),
            config.training.seed,
        )
        if model.note:
            self._note(model.note)
        arrays = model.arrays()
        try:
            choices = self._choose_closed_form(model)
            if not all(np.isfinite(array).all() for array in arrays.values()):
                raise TrainingDiverged("the weights are not finite")
        except TrainingDiverged:
            run.update(status="diverged")
            hint = f"Change the settings of the section {name}"
            raise TrainingDiverged(f"{name} gave scores that are not finite", hint=hint) from None
        seconds, metric, valid = self.seconds, config.training.metric, choices.valid
        run.save_arrays(WEIGHTS, arrays)
        run.write_metrics([EpochReport(1, 0.0, seconds, valid, bool(valid)).as_dict()])
        best = valid and BestEpoch(epoch=1, metric=metric, value=valid[metric], valid=valid)
        point_latest(run)
        run.update(
            status="complete",
            best=best,
            dataset=self._dataset_info(choices),
            epochs=1,
            seconds=seconds,
            peak_memory_mb=peak_memory_mb(),
        )
        return run

    def _choose_closed_form(self, model: ClosedFormRecommender) -> Choices:
        """How a closed-form model scores. Raises TrainingDiverged."""
        if self._validate is None:
            half_life = keep_half_life(self.run.manifest, self.dataset, self._note)
            return Choices(history_half_life=half_life)
        chooser = self._make_chooser(self._validate)
        half_life = chooser.choose_history_half_life(model)
        return Choices(history_half_life=half_life, valid=chooser.valid or chooser.validate(model))

    def _make_chooser(self, validate: SplitValidator) -> Chooser:
        values = self.run.manifest.dataset.training_values
        return Chooser(self.config, self.dataset, values, validate)

    def _dataset_info(self, choices: Choices) -> DatasetInfo:
        half_life = {"history_half_life": choices.history_half_life}
        return self.run.manifest.dataset.model_copy(update=half_life)

    def _train_epochs(self, model: TrainableRecommender) -> RunDirectory:
        run, config = self.run, self.config
        self._prepare_device()
        validate = self._make_epoch_validator()
        trainer = Trainer(
            model,
            self.train_rows,
            config.training,
            validate,
            self.group,
            lambda: None if validate is None else validate.alone,
        )
        self._restore(trainer)
        # The main process may finish at once and delete the checkpoint that the others still read.
        self.group.barrier()
        if run.manifest.init_from is not None and not run.has_checkpoint:
            run.save_checkpoint(trainer.state)  # from here on the other run may go
        throttle = CheckpointThrottle()

        def on_epoch(report: EpochReport) -> None:
            if (report.valid is not None or self.is_refit) and throttle.is_due():
                with throttle.timed():
                    run.save_checkpoint(trainer.state)
                run.write_metrics(line.as_dict() for line in trainer.progress.history)
                run.update(epochs=report.epoch, seconds=self.seconds)
            self.callbacks.on_epoch(report)

        self.callbacks.on_start(trainer)
        try:
            trainer.run(on_epoch, self.callbacks.on_batch)
            choices = self._choose(trainer)
        except TrainingDiverged as error:
            self._finish(trainer, status="diverged")
            best = trainer.progress.best_epoch
            hint = (
                f"The weights of epoch {best} are kept in {run.path}"
                if best
                else "No weights were kept"
            )
            raise TrainingDiverged(str(error), hint=hint) from None
        run.update(seconds=self.seconds)
        self._finish(trainer, "complete", choices)
        return run

    def _choose(self, trainer: Trainer) -> Choices:
        """Choose on validation how the model of the best epoch scores.

        A refit has the choices of the run that it came from.
        """
        model = trainer.model
        if self._validate is None:
            choices, trend = keep_choices(self.run.manifest, self.dataset, model, self._note)
        else:
            chooser = self._make_chooser(self._validate)
            if model.fitted_parts or chooser.reads_times:
                self.callbacks.on_stage("choosing on validation how the model scores")
            load_parameters(model, trainer.best)
            model.set_scales(trainer.progress.best_scales)
            choices, trend = chooser.choose_all(model)
        if trend is not None:
            self.run.save_arrays(TREND, {"trend": trend})
        return choices

    def _prepare_device(self) -> None:
        kind = self.device.type
        if kind == "cuda":
            torch.use_deterministic_algorithms(True, warn_only=True)
        if self.config.training.precision == "bf16" and not has_bf16(kind):
            self.callbacks.on_note(
                f"training.precision=bf16 is emulated on this {kind}, and slow; "
                "auto takes float32 here"
            )

    def _restore(self, trainer: Trainer) -> None:
        checkpoint = self.run.load_checkpoint()
        if checkpoint is None:
            return
        try:
            trainer.restore(*checkpoint)
        except (KeyError, RuntimeError, ValueError):  # names or shapes of another model
            path = self.run.path / CHECKPOINT
            raise RunError("does not fit this run", where=path, hint="Train again") from None

    def _finish(
        self,
        trainer: Trainer,
        status: str,
        choices: Choices | None = None,
    ) -> None:
        """Write the results. The status comes last, so that a kill before it can be resumed."""
        choices = choices or Choices()
        run, progress, metric = self.run, trainer.progress, self.config.training.metric
        lines = [report.as_dict() for report in progress.history]
        run.write_metrics(lines)
        best = None
        if progress.best_epoch:
            valid = choices.valid or progress.history[progress.best_epoch - 1].valid
            best = valid and BestEpoch(
                epoch=progress.best_epoch, metric=metric, value=valid[metric], valid=valid
            )
            load_parameters(trainer.model, trainer.best)
            run.save_tensors(WEIGHTS, trainer.model.served_weights())
            save_parameters(run, trainer.model)
            run.save_learning_curve(
                lambda path: plot_learning_curve(lines, metric, run.manifest.name, path)
            )
        if status == "complete":
            point_latest(run)
        run.update(
            status=status,
            best=best,
            dataset=self._dataset_info(choices),
            mixture=choices.mixture,
            trend_half_life=choices.trend_half_life,
            epochs=progress.epoch,
            peak_memory_mb=peak_memory_mb(),
        )
        run.delete_checkpoint()
