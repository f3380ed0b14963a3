"""The run directory: all that is needed to serve a model and to repeat its training.

::

    manifest.json            status, config, dataset hash, versions, best epoch, SHA-256 of the
                             files below, and a checksum of itself
    config.yaml              the complete configuration; `train --config` takes it
    metrics.jsonl            one line per epoch
    learning_curve.png
    weights.safetensors      the weights that are served (of a baseline: its arrays)
    signals.safetensors      item signals, computed once from the training data
    trend.safetensors        only where scores are corrected for what is popular now
    parameters.safetensors   of models that serve vectors made from their weights: the weights, and
                             item features, from which `train --init` starts
    inherited.parquet        of a run that started from another: what else that one was trained on
    users.parquet  items.parquet                     the dataset's, for serving
    item_columns.parquet                             likewise, where it has them
    train.parquet  valid.parquet  test.parquet       likewise: what is known of the users
    new_items.safetensors    only of a run that was extended by `add-items`: known items that stand
                             for the new ones, which are the last rows of items.parquet
    evaluation.json          metrics of `evaluate`; may be missing, and is not in the manifest
    checkpoint.safetensors   only until training is complete: the state for --resume
    .lock                    only while a process trains the run
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from ld4mrec_cli.config import Config, apply_choice, config_from_mapping, config_to_yaml
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.item_columns import ITEM_COLUMNS_FILE
from ld4mrec_cli.data.splits import SPLITS
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.runs.checkpoint import read_checkpoint, write_checkpoint
from ld4mrec_cli.runs.config_file import check_config_file
from ld4mrec_cli.runs.manifest import Manifest, read_manifest, write_manifest
from ld4mrec_cli.runs.signal_arrays import signals_from_tensors, signals_to_arrays
from ld4mrec_cli.utils.errors import ConfigError, RunError
from ld4mrec_cli.utils.files import atomic_file, sha256, write_text
from ld4mrec_cli.utils.locks import is_locked, locked_file
from ld4mrec_cli.utils.workspace import LOCK, is_blank, remove_temporaries

MANIFEST, CONFIG, METRICS, CURVE = (
    "manifest.json",
    "config.yaml",
    "metrics.jsonl",
    "learning_curve.png",
)
WEIGHTS, SIGNALS, CHECKPOINT = (
    "weights.safetensors",
    "signals.safetensors",
    "checkpoint.safetensors",
)
PARAMETERS, INHERITED = "parameters.safetensors", "inherited.parquet"
NEW_ITEMS, TREND = "new_items.safetensors", "trend.safetensors"
SPLIT_TABLES = tuple(f"{split}.parquet" for split in SPLITS)
SERVING_TABLES = ("users.parquet", "items.parquet", *SPLIT_TABLES)

Args = ParamSpec("Args")


def _if_writable(
    method: Callable[Concatenate[RunDirectory, Args], None],
) -> Callable[Concatenate[RunDirectory, Args], None]:
    """Make a method that writes do nothing where the run is not writable."""

    @wraps(method)
    def guarded(run: RunDirectory, /, *args: Args.args, **kwargs: Args.kwargs) -> None:
        if run.is_writable:
            method(run, *args, **kwargs)

    return guarded


class RunDirectory:
    """A run directory, opened or newly made."""

    def __init__(self, path: Path, manifest: Manifest, *, writable: bool = True) -> None:
        """Take a directory and its manifest.

        Args:
            path: the directory.
            manifest: its manifest.
            writable: False in processes other than the main process; all writes then do nothing.
        """
        self.path = path
        self.manifest = manifest
        self.is_writable = writable

    @classmethod
    def create(cls, path: Path, manifest: Manifest, config: Config) -> RunDirectory:
        """Make the directory with manifest and config.

        Leftovers of a training that was killed before it had a manifest are removed.

        Raises:
            RunError: it exists and is not empty, or another process is making it.
        """
        run = cls(path, manifest)
        try:
            path.mkdir(parents=True, exist_ok=True)
            run._check_blank()
            with run.locked():
                run._check_blank()
                remove_temporaries(path)
                run.save_manifest()
                run._write_config(config)
        except OSError as error:
            raise RunError(f"cannot be written ({error.strerror})", where=path) from None
        return run

    @classmethod
    def open(cls, path: Path, *, writable: bool = True) -> RunDirectory:
        """Open a run directory.

        What a kill left in a finished run is removed: a checkpoint, workspaces.

        Raises:
            RunError: it is none, or its manifest is damaged.
        """
        file = path / MANIFEST
        if not file.is_file():
            problem = "no such run directory"
            if path.exists():
                problem = "is not a run directory (no manifest.json)"
            hint = "Train a model with `ld4mrec train`, or name another --run"
            raise RunError(problem, where=path, hint=hint)
        run = cls(path, read_manifest(file), writable=writable)
        if not run.is_unfinished:
            with suppress(OSError):  # not ours to change
                run.delete_checkpoint()
                run.remove_temporaries()
        return run

    def reload(self) -> None:
        """Read the manifest again, after another process wrote it."""
        self.manifest = read_manifest(self.path / MANIFEST)

    @property
    def config(self) -> Config:
        """The run's complete configuration. Raises RunError where ``config.yaml`` was edited."""
        try:
            config = config_from_mapping(self.manifest.config)
        except ConfigError as error:
            what = f"holds a configuration that does not fit ({error})"
            raise RunError(what, where=self.path / MANIFEST) from None
        check_config_file(self.path / CONFIG, self.manifest.config_hash, config)
        return config

    @property
    def settled_config(self) -> Config:
        """:attr:`config` with what was chosen on validation before the training."""
        return apply_choice(self.config, self.manifest.chosen or {})

    @property
    def n_items(self) -> int:
        """Items that the run scores: those of the dataset, and new ones."""
        new = self.manifest.new_items
        return self.manifest.dataset.n_items + (0 if new is None else new.count)

    @property
    def is_unfinished(self) -> bool:
        """Whether training can be resumed."""
        return self.manifest.status in ("running", "interrupted")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run while it is trained; a kill releases it.

        Raises:
            RunError: another process holds it.
        """
        if not self.is_writable:
            yield
            return
        with locked_file(self.path / LOCK) as is_held:
            if not is_held:
                raise RunError("is being trained by another process", where=self.path)
            yield

    def is_locked(self) -> bool:
        """Whether a process is training the run now."""
        return is_locked(self.path / LOCK)

    @_if_writable
    def change_config(self, config: Config) -> None:
        """Replace the configuration, in the manifest and beside it."""
        # The manifest first: after a kill, config.yaml still has the hash of the manifest.
        self.update(config=config.model_dump(mode="json"))
        self._write_config(config)

    @_if_writable
    def save_manifest(self) -> None:
        """Write the manifest atomically."""
        write_manifest(self.path / MANIFEST, self.manifest)

    def update(self, **values: Any) -> None:
        """Change fields of the manifest and save it."""
        self.manifest = self.manifest.model_copy(update=values)
        self.save_manifest()

    @_if_writable
    def add_serving_tables(self, dataset: Dataset) -> None:
        """Copy ids, titles and interactions: the run serves without the dataset."""
        names = [*SERVING_TABLES]
        if ITEM_COLUMNS_FILE in dataset.schema.files:
            names.append(ITEM_COLUMNS_FILE)
        for name in names:
            with atomic_file(self.path / name) as temporary:
                shutil.copyfile(dataset.path(name), temporary)
        self._record(names)

    def save_signals(self, signals: ItemSignals) -> None:
        """Write the item signals."""
        self.save_arrays(SIGNALS, signals_to_arrays(signals))

    @_if_writable
    def save_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write named arrays as safetensors and note their hash."""
        with atomic_file(self.path / name) as temporary:
            save_arrays(
                {key: np.ascontiguousarray(array) for key, array in arrays.items()}, temporary
            )
        self._record([name])

    def load_signals(self) -> ItemSignals:
        """Read the item signals. Raises RunError."""
        info = self.manifest.dataset
        tensors = self.load_tensors(SIGNALS)
        return signals_from_tensors(tensors, info.modalities, info.n_items, self.path / SIGNALS)

    @_if_writable
    def add_new_items(self, arrays: Mapping[str, np.ndarray], config: Config) -> None:
        """Write what makes a copy of a run one that knows new items; its tables have them."""
        self.save_arrays(NEW_ITEMS, arrays)
        self._record([name for name in self.manifest.files if (self.path / name).is_file()])
        self._write_config(config)

    @_if_writable
    def save_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write named tensors, such as the weights that are served, and note their hash."""
        plain = {key: tensor.detach().contiguous().cpu() for key, tensor in tensors.items()}
        with atomic_file(self.path / name) as temporary:
            save_file(plain, temporary)
        self._record([name])

    @_if_writable
    def save_inherited(self, pairs: pl.DataFrame) -> None:
        """Write interactions, as indices, that the run which this one started from has learned."""
        with atomic_file(self.path / INHERITED) as temporary:
            pairs.write_parquet(temporary)
        self._record([INHERITED])

    def load_tensors(self, name: str) -> dict[str, Tensor]:
        """Read a safetensors file of the run. Raises RunError where it is damaged or changed."""
        path = self.verified_path(name)
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError):
            raise RunError("is damaged", where=path, hint="Train again") from None

    def verified_path(self, name: str) -> Path:
        """Path of a file of the run, compared with its hash. Raises RunError."""
        path = self.path / name
        if not path.is_file() or name not in self.manifest.files:
            raise self._missing(name)
        if sha256(path) != self.manifest.files[name]:
            raise RunError(
                "is damaged: it is not what training wrote", where=path, hint="Train again"
            )
        return path

    def _missing(self, name: str) -> RunError:
        """The error for a file that the run lacks."""
        if name == WEIGHTS and self.is_unfinished:
            what = f"this run is {self.manifest.status}, it has no weights yet"
            hint = f"Continue it with `ld4mrec train --resume --run {self.path}`"
            return RunError(what, where=self.path, hint=hint)
        if name == WEIGHTS and self.manifest.status == "diverged":
            what = "this run diverged before it had weights"
            return RunError(what, where=self.path, hint="Train again")
        hint = "Train again"
        if name in SPLIT_TABLES:  # runs of an earlier version have train.parquet alone
            hint = "Serve the run with --splits train, or train again"
        return RunError("is missing from the run", where=self.path / name, hint=hint)

    @_if_writable
    def write_metrics(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl``, one object per epoch."""
        write_text(self.path / METRICS, "".join(json.dumps(line) + "\n" for line in lines))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read ``metrics.jsonl``."""
        text = (self.path / METRICS).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def validation_curve(self, metric: str) -> dict[int, float]:
        """Value of a validation metric by epoch. Raises RunError where the file is damaged."""
        try:
            lines = self.read_metrics()
            return {
                int(line["epoch"]): float(line["valid"][metric]) for line in lines if line["valid"]
            }
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            hint = "Start anew with another directory"
            raise RunError("is damaged", where=self.path / METRICS, hint=hint) from None

    @_if_writable
    def save_checkpoint(
        self, state: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Any]]]
    ) -> None:
        """Write the tensors and values that ``state`` returns into one file, for ``--resume``."""
        write_checkpoint(self.path / CHECKPOINT, *state())

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a state to continue from."""
        return (self.path / CHECKPOINT).is_file()

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the checkpoint, None where there is none yet. Raises RunError if damaged."""
        path = self.path / CHECKPOINT
        return read_checkpoint(path) if path.is_file() else None

    @_if_writable
    def delete_checkpoint(self) -> None:
        """Remove the checkpoint of a finished run."""
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    @_if_writable
    def remove_temporaries(self) -> None:
        """Remove files that a killed training left half-written."""
        remove_temporaries(self.path)

    @_if_writable
    def save_learning_curve(self, plot: Callable[[Path], None]) -> None:
        """Write the learning curve, which ``plot`` draws into the path that it is given."""
        plot(self.path / CURVE)

    def _check_blank(self) -> None:
        if not is_blank(self.path):
            hint = "Choose another --run, or give --resume to continue it"
            raise RunError("exists", where=self.path, hint=hint)

    def _write_config(self, config: Config) -> None:
        text = config_to_yaml(config)
        write_text(self.path / CONFIG, text)
        self.update(config_hash=hashlib.sha256(text.encode()).hexdigest())

    def _record(self, names: Iterable[str]) -> None:
        files = {**self.manifest.files, **{name: sha256(self.path / name) for name in names}}
        self.update(files=dict(sorted(files.items())))
