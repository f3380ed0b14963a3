"""The Python API: prepare data, train, refit and evaluate models, recommend, export (docs/api.md).

All functions raise :class:`ld4mrec_cli.utils.errors.UserError` for wrong input, with one line that
says what is wrong, where, and how to fix it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ld4mrec_cli.config import Config, config_from_mapping, load_config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.folds import open_datasets
from ld4mrec_cli.data.prepare import default_dataset_path
from ld4mrec_cli.data.prepare import prepare as _prepare_directory
from ld4mrec_cli.runs.add_items import add_items as _add_to_run
from ld4mrec_cli.runs.catalog import KnownSplits
from ld4mrec_cli.runs.evaluate import evaluate_run, open_run_dataset
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.serving.export.export import DEFAULT_NEIGHBORS, ExportFormat, ExportReport
from ld4mrec_cli.serving.export.export import export_run as _export_run
from ld4mrec_cli.serving.recommender import Recommender
from ld4mrec_cli.serving.requests import Pairs
from ld4mrec_cli.settings.base import Mask
from ld4mrec_cli.training.refit import refit as _refit_run
from ld4mrec_cli.training.session import Callbacks
from ld4mrec_cli.training.session import train as _train_config
from ld4mrec_cli.utils.device import resolve_device
from ld4mrec_cli.utils.errors import ConfigError

if TYPE_CHECKING:
    from ld4mrec_cli.training.trainer import EpochReport

__all__ = [
    "Dataset",
    "Pairs",
    "Recommender",
    "add_items",
    "evaluate",
    "export",
    "prepare",
    "refit",
    "train",
]

StrPath = str | Path


def prepare(
    raw: StrPath, out: StrPath | None = None, *, overwrite: bool = False, **options: Any
) -> Dataset:
    """Turn raw interaction logs and item content into a dataset directory.

    With a split of several folds ``out`` holds a dataset for each, and the first is returned.

    Args:
        raw: directory or table in any layout that ``ld4mrec prepare`` reads (docs/data.md).
        out: dataset directory to write; ``data/NAME`` of ``raw`` by default.
        overwrite: replace an existing dataset directory.
        options: settings of the section ``prepare`` (docs/config.md), such as ``k_core=5``,
            ``split="temporal"``, ``min_rating=4`` or ``columns={"user": "customer"}``.

    Raises:
        SourceError: the raw files are missing, malformed or do not fit together.
        DatasetError: nothing is left after filtering, or a split is empty.
        ConfigError: an option is unknown or has a wrong value.
        OutputError: ``out`` exists and may not be replaced.
    """
    directory = Path(out) if out is not None else default_dataset_path(Path(raw))
    settings = config_from_mapping({"prepare": options}).prepare
    _prepare_directory(Path(raw), directory, settings, overwrite=overwrite)
    return open_datasets([directory])[0]


def train(
    data: Dataset | StrPath,
    model: str | None = None,
    *,
    seed: int | None = None,
    run: StrPath | None = None,
    device: str | None = None,
    config: Config | StrPath | None = None,
    settings: Mapping[str, Any] | None = None,
    init: RunDirectory | StrPath | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> RunDirectory:
    """Train a model and return its run; the epoch is chosen on the validation split.

    Args:
        data: a dataset or its directory.
        model: ``"ld4mrec"`` (default), or a baseline such as ``"ease"`` (docs/baselines.md).
        seed: seed of the training, 0 by default.
        run: run directory to write; ``runs/NAME-TIME`` by default.
        device: ``"auto"`` (default), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        config: a configuration or its YAML file; the arguments and ``settings`` go on top.
        settings: value by key, such as ``{"training.max_epochs": 5}`` (docs/config.md).
        init: a run on older data of the same catalog, or its directory, whose weights the training
            starts from.
        on_epoch: called after each epoch, with its loss and its validation metrics.

    Returns:
        The run: ``run.path`` is its directory, ``run.manifest.best`` its best validation result.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        DatasetError: the dataset is missing or damaged.
        RunError: ``run`` exists, or ``init`` does not fit.
        TrainingDiverged: the loss is not finite.
    """
    directory = data.directory if isinstance(data, Dataset) else Path(data)
    flags = {
        **(settings or {}),
        "data.path": str(directory),
        "model_name": model,
        "training.seed": seed,
        "training.device": device,
    }
    if isinstance(config, Config):
        complete = load_config(flags=flags, base=config)
    else:
        complete = load_config(Path(config) if config is not None else None, flags=flags)
    callbacks = Callbacks() if on_epoch is None else Callbacks(on_epoch=on_epoch)
    source = None if init is None else _open_run(init)
    target = None if run is None else Path(run)
    return _train_config(complete, target, callbacks, init=source)


def refit(
    run: RunDirectory | StrPath,
    data: Dataset | StrPath | None = None,
    out: StrPath | None = None,
    *,
    device: str | None = None,
) -> RunDirectory:
    """Train a finished run's settings for its number of epochs on every interaction, to serve it.

    Nothing is held out and nothing is validated.

    Args:
        run: a finished run or its directory.
        data: the dataset, which may be newer than the run's; by default the run's.
        out: run directory to write; ``runs/NAME-TIME`` by default.
        device: by default the run's setting.

    Returns:
        The new run; ``manifest.refit_of`` says from which run it is.

    Raises:
        RunError: the run is not finished, or ``out`` exists.
        DatasetError: the dataset is missing or damaged, or lacks a modality of the run.
    """
    source = _open_run(run)
    path = data.directory if isinstance(data, Dataset) else Path(data) if data else None
    target = None if out is None else Path(out)
    return _refit_run(source, path, target, Callbacks(), device=device)


def add_items(
    run: RunDirectory | StrPath,
    items: StrPath,
    out: StrPath | None = None,
    *,
    features: Mapping[str, StrPath] | None = None,
    images: StrPath | None = None,
    data: Dataset | StrPath | None = None,
    weight: float | None = None,
    on_note: Callable[[str], None] = lambda text: None,
) -> RunDirectory:
    """Extend a finished run by new items, by their content and without training.

    Args:
        run: a finished run or its directory; it stays as it is.
        items: table of the new items, as ``prepare`` reads one.
        out: run directory to write; ``runs/NAME-TIME`` by default.
        features: ready-made features by modality: ``.parquet`` or ``.npz`` keyed by item, or
            ``.npy`` whose rows follow ``items``.
        images: folder of the new items' images, if those of the dataset were encoded.
        data: the run's dataset, if it was moved.
        weight: factor of the scores of new items, more brings them forward; 0.7 by default.
        on_note: gets a line on items without content.

    Returns:
        The new run; ``manifest.new_items`` says from which run it is.

    Raises:
        RunError: the run is not finished or damaged.
        UserError: its model takes no new items, or knows one of them, or none has content.
        SourceError: the new items cannot be read.
        DatasetError: the dataset is missing, or not the one of the training.
        OutputError: ``out`` exists.
    """
    if weight is not None and not 0.0 < weight < float("inf"):
        raise ConfigError(f"weight {weight:g} is not a positive number")
    directory = data.directory if isinstance(data, Dataset) else Path(data) if data else None
    return _add_to_run(
        run if isinstance(run, RunDirectory) else RunDirectory.open(Path(run)),
        Path(items),
        None if out is None else Path(out),
        features={name: Path(path) for name, path in (features or {}).items()},
        images=None if images is None else Path(images),
        data=directory,
        weight=weight,
        on_note=on_note,
    )


def evaluate(
    run: RunDirectory | StrPath,
    split: Literal["test", "valid"] = "test",
    *,
    k: Sequence[int] | None = None,
    mask: Mask | None = None,
    data: Dataset | StrPath | None = None,
    on_unknown: Literal["error", "skip"] = "error",
    device: str = "auto",
    on_note: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Rank the whole catalog for every user of a split and return the metrics (docs/metrics.md).

    Args:
        run: a run or its directory.
        split: on ``"valid"``, the mask is always ``"train"``.
        k: cutoffs; by default those of the run's configuration.
        mask: items that are excluded from the ranking; by default the run's.
        data: the dataset, if it was moved since training, or newer data of the same catalog; for a
            refit, newer data.
        on_unknown: ``"skip"`` leaves out users and items of newer data that the run does not know.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        on_note: gets a line on interactions of newer data that are left out.

    Returns:
        Value by metric, such as ``{"recall@20": 0.3, "ndcg@20": 0.2}``.

    Raises:
        RunError: the run is missing, damaged or unfinished, or a refit on this dataset.
        DatasetError: the dataset is missing or damaged, or has nothing to find.
        UnknownIdError: the run does not know users or items of newer data.
    """
    if split not in ("test", "valid"):
        raise ConfigError(f"split '{split}' cannot be evaluated", hint="Choose test or valid")
    opened = _open_run(run)
    unknown = None if data is None else on_unknown
    if not isinstance(data, Dataset):
        data = open_run_dataset(opened, Path(data) if data else None)
    flags = {
        "evaluation.k": None if k is None else sorted(set(k)),
        "evaluation.mask": "train" if split == "valid" else mask,
    }
    options = load_config(flags=flags, base=opened.config).evaluation
    place = resolve_device(device)
    result = evaluate_run(opened, data, split, options, place, on_note=on_note, on_unknown=unknown)
    return result.metrics


def export(
    run: RunDirectory | StrPath,
    out: StrPath,
    formats: Sequence[ExportFormat] | None = None,
    *,
    splits: KnownSplits = "all",
    neighbors: int = DEFAULT_NEIGHBORS,
    overwrite: bool = False,
    device: str = "auto",
    on_note: Callable[[str], None] = lambda text: None,
) -> ExportReport:
    """Write a run's vectors as Parquet, and its one-step inference as ONNX (docs/export.md).

    Args:
        run: a run or its directory.
        out: directory to write.
        formats: ``"parquet"``, ``"onnx"`` or both; by default all that the model and the installed
            packages allow.
        splits: whose interactions are the histories of the users.
        neighbors: of dense item-item weights, the largest that are written for each item.
        overwrite: replace an earlier export.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        on_note: gets a line on what is left out.

    Returns:
        The content of ``export.json``.

    Raises:
        UserError: the model cannot be written in one of ``formats``, or a package is missing.
        OutputError: ``out`` exists and may not be replaced.
        RunError: the run is damaged or has no weights.
    """
    opened = _open_run(run)
    return _export_run(
        opened,
        Path(out),
        formats,
        splits=splits,
        neighbors=neighbors,
        overwrite=overwrite,
        device=resolve_device(device),
        on_note=on_note,
    )


def _open_run(run: RunDirectory | StrPath) -> RunDirectory:
    return run if isinstance(run, RunDirectory) else RunDirectory.open(Path(run))
