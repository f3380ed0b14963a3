"""What the commands do, without a command line: train a run, evaluate a run.

This is where dataset, model, trainer, evaluation and run directory meet; none of them knows the others.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli import __version__
from ld4mrec_cli.baselines.registry import FITTED, TRAINED, USE_FEATURES, check_baseline
from ld4mrec_cli.config import Config, EvaluationConfig, TrainingConfig, differences
from ld4mrec_cli.data.columns import TRAIN, VALID
from ld4mrec_cli.data.dataset import PreparedDataset
from ld4mrec_cli.errors import ConfigError, DatasetError, RunError, TrainingDiverged, TrainingInterrupted
from ld4mrec_cli.evaluation.metrics import Evaluation, evaluate
from ld4mrec_cli.evaluation.ranking import NonFiniteScores, Scorer
from ld4mrec_cli.files import remove_temporaries
from ld4mrec_cli.memory import peak_memory_mb
from ld4mrec_cli.model.device import has_bf16, resolve_device
from ld4mrec_cli.model.guidance import COLLABORATIVE
from ld4mrec_cli.model.ld4mrec import ItemSignals, LD4MRec
from ld4mrec_cli.model.trainable import TrainableRecommender
from ld4mrec_cli.parallel import ALONE, Group
from ld4mrec_cli.serving.recommender import load_scorer
from ld4mrec_cli.training.averaging import load_parameters
from ld4mrec_cli.training.checkpoint import (
    CHECKPOINT,
    CURVE,
    SIGNALS,
    WEIGHTS,
    BestEpoch,
    DatasetInfo,
    Manifest,
    RunDirectory,
)
from ld4mrec_cli.training.curve import plot_learning_curve
from ld4mrec_cli.training.places import new_run_path, point_latest
from ld4mrec_cli.training.trainer import EpochReport, Trainer

MAY_CHANGE = ("prepare", "evaluation", "training.max_epochs", "training.patience", "training.device", "data.path")
"""Sections and settings that may differ when a run is resumed; data.path must lead to the same data."""


@dataclass
class Watcher:
    """Callbacks for progress; each does nothing unless replaced."""

    on_stage: Callable[[str], None] = lambda text: None
    """A step begins."""
    on_note: Callable[[str], None] = lambda text: None
    """Something that the user should know of the result."""
    on_start: Callable[[Trainer], None] = lambda trainer: None
    """Epochs begin."""
    on_batch: Callable[[], None] = lambda: None
    on_epoch: Callable[[EpochReport], None] = lambda report: None


def open_dataset(config: Config) -> PreparedDataset:
    """Open the dataset that the config names. Raises ConfigError or DatasetError."""
    if config.data.path is None:
        hint = "Set data.path in the config, or give --set data.path=data/NAME"
        raise ConfigError("no dataset is named", hint=hint)
    return PreparedDataset.open(config.data.path)


def train(config: Config, run_path: Path | None, watcher: Watcher, group: Group = ALONE) -> RunDirectory:
    """Train what the config says and return the complete run.

    Processes in a ``group`` call this with the same arguments; they share a file system, on which one of them writes.

    Raises:
        UserError: of any kind; TrainingDiverged and TrainingInterrupted leave a run directory behind.
    """
    _check_group(config, group)
    device = _device(config, group)
    dataset = open_dataset(config)
    modalities = dataset.modality_names(config.data.modalities)
    _check_guidance(config, modalities)
    check_baseline(config.model_name, dataset.shape[1], modalities)
    name = config.name or dataset.name
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
            modalities=list(modalities) if config.model_name in USE_FEATURES else [],
        ),
        versions=versions(),
        device=device_name(device),
        started=datetime.now().astimezone().isoformat(),
    )
    run = _created(run_path or new_run_path(name), manifest, config, group)
    with _held(run, group):
        return _work(_Job(run, config, dataset, dataset.matrix(TRAIN), device, watcher, group))


def _created(path: Path, manifest: Manifest, config: Config, group: Group) -> RunDirectory:
    """The run directory that the writer makes, in all processes. Raises RunError where it cannot be made."""
    refused: RunError | None = None
    if group.is_writer:
        try:
            path = RunDirectory.create(path, manifest, config).path
        except RunError as error:
            refused = error
    told = group.tell("" if refused else str(path))
    if refused or not told:
        raise refused or RunError("the first process could not make the run directory")
    return RunDirectory.open(Path(told))


def _check_group(config: Config, group: Group) -> None:
    if group.size > 1 and config.model_name != "ld4mrec":
        raise ConfigError(f"{config.model_name} is trained by one process", hint="Train it without torchrun")


def _held(run: RunDirectory, group: Group) -> AbstractContextManager[None]:
    """The run's lock, for the writer."""
    return run.locked() if group.is_writer else nullcontext()


def resume(path: Path, config: Config | None, watcher: Watcher, group: Group = ALONE) -> RunDirectory:
    """Continue an unfinished run.

    With the run's own settings and device the result is that of a run that was never interrupted.
    ``config`` (None: the run's own) may differ from the run's in MAY_CHANGE, and in what its
    model does not read.

    Raises:
        RunError: the run is finished, damaged, or being trained by another process.
        ConfigError: ``config`` differs in another setting.
        DatasetError: the dataset is not the one that the run was trained on.
    """
    run = RunDirectory.open(path)
    if not run.is_unfinished:
        raise RunError(f"this run is {run.manifest.status}, there is nothing to resume", where=path)
    config = config or run.config
    _check_group(config, group)
    _check_resumable(run, config)
    device = _device(config, group)
    moved = config.data.path if config.data.path != run.config.data.path else None
    dataset = PreparedDataset.open(moved or Path(run.manifest.dataset.path))
    check_same_dataset(run, dataset)
    group.barrier()  # all have read the run before it is changed
    with _held(run, group):
        if group.is_writer:
            remove_temporaries(run.path)
            run.change_config(config)
            found = run.manifest.dataset.model_copy(update={"path": str(dataset.directory.resolve())})
            run.update(status="running", device=device_name(device), dataset=found)
        return _work(_Job(run, config, dataset, dataset.matrix(TRAIN), device, watcher, group))


def _device(config: Config, group: Group) -> torch.device:
    """Where the training runs; what is fitted in one go runs on the CPU whatever is asked for."""
    device = group.place(resolve_device(config.training.device))
    return torch.device("cpu") if config.model_name in FITTED else device


@dataclass(frozen=True)
class _Job:
    """A training, and all it works with."""

    run: RunDirectory
    config: Config
    dataset: PreparedDataset
    train_rows: csr_matrix
    device: torch.device
    watcher: Watcher
    group: Group

    def note(self, text: str) -> None:
        """Tell the user, now and in the manifest, something of the result."""
        self.watcher.on_note(text)
        if self.group.is_writer:
            self.run.update(notes=list(dict.fromkeys([*self.run.manifest.notes, text])))


def _work(job: _Job) -> RunDirectory:
    """Do what of a training is not done yet."""
    if job.group.is_writer:
        job.run.add_serving_tables(job.dataset)
    started = time.monotonic() - job.run.manifest.seconds
    if job.config.model_name in FITTED:
        return _fit_at_once(job, started)
    return _fit(job, _build(job).to(job.device), started)


def _build(job: _Job) -> TrainableRecommender:
    """The untrained model; for LD4MRec, its item signals are computed where the run has none yet."""
    config = job.config
    if config.model_name == "ld4mrec":
        if job.group.is_writer and SIGNALS not in job.run.manifest.files:
            _compute_signals(job)
        job.group.barrier()
        job.run.read_again()
        return LD4MRec(config.model, config.diffusion, config.training, job.run.load_signals())
    return TRAINED[config.model_name].build(config, job.train_rows, _features(job))


def _features(job: _Job) -> dict[str, np.ndarray]:
    return {name: job.dataset.modality(name).values for name in job.run.manifest.dataset.modalities}


def _compute_signals(job: _Job) -> None:
    job.watcher.on_stage("computing item signals")
    model = job.config.model
    signals = ItemSignals.compute(model, job.train_rows, _features(job), job.config.training.seed)
    asked = (model.item_weights and signals.item_weights is None, model.factor_scores and signals.item_factors is None)
    for what in (name for name, missing in zip(("item weights", "factor scores"), asked, strict=True) if missing):
        limit = model.item_weights_max_items
        note = f"without {what}: the {job.dataset.shape[1]:,} items are more than item_weights_max_items, {limit:,}"
        job.note(note)
    job.run.save_signals(signals)


def _check_resumable(run: RunDirectory, config: Config) -> None:
    for key, was, now in sorted(differences(run.manifest.config, config.model_dump(mode="json"), MAY_CHANGE)):
        hint = "Resume with the run's own settings, or start a new run without --resume"
        raise ConfigError(f"{key} was {was!r} in this run and is {now!r} now", where=run.path, hint=hint)


def _check_guidance(config: Config, modalities: tuple[str, ...]) -> None:
    known = (COLLABORATIVE, *modalities)
    for name in config.model.guidance or ():
        if name not in known:
            raise ConfigError(f"model.guidance names '{name}', but the signals are {', '.join(known)}")


def _fit(job: _Job, model: TrainableRecommender, started: float) -> RunDirectory:
    """Train in epochs; ``started`` is when the clock would have stood at zero, sessions before this one counted."""
    run, config, watcher = job.run, job.config, job.watcher
    if job.device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    if config.training.precision == "bf16" and not has_bf16(job.device.type):
        watcher.on_note(
            f"training.precision=bf16 is emulated on this {job.device.type}, and slow; auto takes float32 here"
        )
    validate = validator(config, job.dataset, job.train_rows, job.note, job.group)
    trainer = Trainer(model, job.train_rows, config.training, validate, job.group)
    _restore(trainer, run)
    job.group.barrier()  # the writer may be done at once, and drop what the others have yet to read

    pace = _Pace()

    def on_epoch(report: EpochReport) -> None:
        if job.group.is_writer and report.valid is not None and pace.is_due():
            with pace.timed():
                run.save_checkpoint(*trainer.state())
            run.write_metrics(line.as_dict() for line in trainer.progress.history)
            run.update(epochs=report.epoch, seconds=time.monotonic() - started)
        watcher.on_epoch(report)

    watcher.on_start(trainer)
    try:
        trainer.run(on_epoch, watcher.on_batch)
    except TrainingDiverged as error:
        if job.group.is_writer:
            _finish(run, trainer, config, status="diverged")
        best = trainer.progress.best_epoch
        kept = f"The weights of epoch {best} are kept in {run.path}" if best else "No weights were kept"
        raise TrainingDiverged(str(error), hint=kept) from None
    except KeyboardInterrupt:
        if job.group.is_writer:
            run.update(status="interrupted")
        hint = f"Continue with `ld4mrec train --resume --run {run.path}`"
        raise TrainingInterrupted(f"interrupted after epoch {run.manifest.epochs}", hint=hint) from None
    if job.group.is_writer:
        run.update(seconds=time.monotonic() - started)
        _finish(run, trainer, config, status="complete")
    return run


class _Pace:
    """Checkpoints that are quick to write are written whenever there is one, others for at most 5 % of the time."""

    def __init__(self) -> None:
        self._took, self._written = 0.0, -math.inf

    def is_due(self) -> bool:
        """Whether the next checkpoint should be written."""
        return self._took < 1.0 or time.monotonic() - self._written >= 20.0 * self._took

    @contextmanager
    def timed(self) -> Iterator[None]:
        """For the time that a checkpoint is written."""
        began = time.monotonic()
        yield
        self._written = time.monotonic()
        self._took = self._written - began


def _restore(trainer: Trainer, run: RunDirectory) -> None:
    checkpoint = run.load_checkpoint()
    if checkpoint is None:
        return
    try:
        trainer.restore(*checkpoint)
    except (KeyError, RuntimeError, ValueError):  # names or shapes of another model
        raise RunError("does not fit this run", where=run.path / CHECKPOINT, hint="Train again") from None


def _finish(run: RunDirectory, trainer: Trainer, config: Config, status: str) -> None:
    """Write what a run that ended leaves behind; its status comes last, so that a kill before can be resumed."""
    progress, metric = trainer.progress, config.training.metric
    lines = [report.as_dict() for report in progress.history]
    run.write_metrics(lines)
    best = None
    if progress.best_epoch:
        valid = progress.history[progress.best_epoch - 1].valid or {}
        best = BestEpoch(epoch=progress.best_epoch, metric=metric, value=progress.best_value, valid=valid)
        load_parameters(trainer.model, trainer.best)
        run.save_weights(trainer.model.served_weights())
        plot_learning_curve(lines, metric, run.manifest.name, run.path / CURVE)
    if status == "complete":
        point_latest(run.path)
    run.update(status=status, best=best, epochs=progress.epoch, peak_memory_mb=peak_memory_mb())
    run.drop_checkpoint()


SCORES_OF_A_VALIDATION, LEAST_VALIDATION_USERS = 2 * 10**9, 2000
"""How many scores a validation computes at most unless told otherwise, and of how many users at least."""


def validation_users(config: TrainingConfig, targets: csr_matrix) -> np.ndarray:
    """The users that validation ranks for, ascending: those with a target, or some of them drawn by the seed."""
    users = np.flatnonzero(np.diff(targets.indptr))
    wanted = config.validation_users
    if wanted is None:
        wanted = max(LEAST_VALIDATION_USERS, SCORES_OF_A_VALIDATION // targets.shape[1])
    if not wanted or wanted >= len(users):
        return users
    return np.sort(np.random.default_rng(config.seed).choice(users, wanted, replace=False))


def validator(
    config: Config,
    dataset: PreparedDataset,
    train_rows: csr_matrix,
    on_note: Callable[[str], None] = lambda text: None,
    group: Group = ALONE,
) -> Callable[[Scorer], dict[str, float]]:
    """The ``validate`` callable of a training: metrics on the validation split, training items masked."""
    targets = dataset.matrix(VALID)
    if not targets.nnz:
        raise DatasetError("the valid split is empty", where=dataset.directory)
    users, n_users = validation_users(config.training, targets), dataset.schema.splits[VALID].users
    if len(users) < n_users:
        on_note(f"validating with {len(users):,} of the {n_users:,} users (training.validation_users)")
    cutoffs = sorted({20, int(config.training.metric.split("@")[1])})

    def validate(scorer: Scorer) -> dict[str, float]:
        try:
            batch_size = config.evaluation.batch_size
            found = evaluate(scorer, train_rows, targets, train_rows, cutoffs, batch_size, users=users, group=group)
        except NonFiniteScores as error:
            raise TrainingDiverged(str(error), hint="Lower training.learning_rate or set training.grad_clip") from None
        return {name: found.metrics[name] for name in found.per_user}

    return validate


def _fit_at_once(job: _Job, started: float) -> RunDirectory:
    run, config = job.run, job.config
    validate = validator(config, job.dataset, job.train_rows, job.note)
    job.watcher.on_stage(f"fitting {config.model_name}")
    baseline = FITTED[config.model_name].fit(job.train_rows, config)
    try:
        valid = validate(baseline)
    except TrainingDiverged:
        run.update(status="diverged")
        what = f"{config.model_name} gave scores that are not finite"
        raise TrainingDiverged(what, hint=f"Change the settings of the section {config.model_name}") from None
    seconds = time.monotonic() - started
    run.save_arrays(WEIGHTS, baseline.arrays())
    run.write_metrics([EpochReport(1, 0.0, seconds, valid, is_best=True).as_dict()])
    metric = config.training.metric
    best = BestEpoch(epoch=1, metric=metric, value=valid[metric], valid=valid)
    point_latest(run.path)
    run.update(status="complete", best=best, epochs=1, seconds=seconds, peak_memory_mb=peak_memory_mb())
    return run


def check_same_dataset(run: RunDirectory, dataset: PreparedDataset) -> None:
    """Raise DatasetError unless ``dataset`` is the one that the run was trained on."""
    if dataset.hash != run.manifest.dataset.hash:
        hint = "Prepare it again with the same options, or train again"
        raise DatasetError(f"is not the dataset that {run.path} was trained on", where=dataset.directory, hint=hint)


def evaluate_run(
    run: RunDirectory,
    dataset: PreparedDataset,
    split: str,
    options: EvaluationConfig,
    device: torch.device,
    on_batch: Callable[[int], None] | None = None,
    group: Group = ALONE,
) -> Evaluation:
    """Evaluate a run on the validation or test split of its dataset; ``options`` gives cutoffs and mask."""
    check_same_dataset(run, dataset)
    scorer = load_scorer(run, device)
    train_rows, targets = dataset.matrix(TRAIN), dataset.matrix(split)
    masked = train_rows
    if options.mask == "train+valid" and split != VALID:
        masked = (train_rows + dataset.matrix(VALID)).tocsr()
    return evaluate(scorer, train_rows, targets, masked, options.k, options.batch_size, on_batch, group=group)


def versions() -> dict[str, str]:
    """Versions of what computes the result."""
    packages = ("torch", "numpy", "scipy", "polars", "scikit-learn", "safetensors")
    return {"ld4mrec": __version__, "python": platform.python_version(), **{p: version(p) for p in packages}}


def device_name(device: torch.device) -> str:
    """The device and, for CUDA, what it is."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
