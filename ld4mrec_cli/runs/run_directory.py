"""The run directory: all that is needed to serve a model and to repeat its training.

::

    manifest.json            status, config, dataset hash, versions, best epoch, SHA-256 of the files below
    config.yaml              the complete configuration; `train --config` takes it
    metrics.jsonl            one line per epoch
    learning_curve.png
    weights.safetensors      the weights that are served (of a baseline: its arrays)
    signals.safetensors      item signals, computed once from the training data
    users.parquet  items.parquet  train.parquet    the dataset's, for serving
    checkpoint.safetensors   only until training is complete: what --resume needs
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from ld4mrec_cli.config import Config, config_from_mapping, config_to_yaml
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.runs.checks import check_numbers
from ld4mrec_cli.settings.base import Count
from ld4mrec_cli.utils.errors import ConfigError, RunError
from ld4mrec_cli.utils.files import (
    atomic_file,
    is_held,
    locked_file,
    remove_temporaries,
    sha256,
    write_json,
    write_text,
)

FORMAT = "ld4mrec-run"
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
LOCK = ".lock"
SERVING_TABLES = ("users.parquet", "items.parquet", "train.parquet")


class DatasetInfo(BaseModel):
    """The dataset that a run was trained on."""

    model_config = ConfigDict(extra="forbid")
    path: str
    name: str
    hash: str
    n_users: Count
    n_items: Count
    modalities: list[str]


class BestEpoch(BaseModel):
    """The epoch whose weights are served."""

    model_config = ConfigDict(extra="forbid")
    epoch: int
    metric: str
    value: float
    valid: dict[str, float]


class Manifest(BaseModel):
    """Content of ``manifest.json``."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["ld4mrec-run"] = "ld4mrec-run"
    version: Literal[1] = 1
    status: Literal["running", "interrupted", "diverged", "complete"] = "running"
    name: str
    model: str
    seed: int
    config: dict[str, Any]
    dataset: DatasetInfo
    versions: dict[str, str]
    device: str
    started: str
    epochs: int = 0
    seconds: float = 0.0
    peak_memory_mb: float | None = None
    best: BestEpoch | None = None
    notes: list[str] = []
    files: dict[str, str] = {}


class RunDirectory:
    """A run directory, opened or newly made."""

    def __init__(self, path: Path, manifest: Manifest, *, writable: bool = True) -> None:
        """Writes do nothing unless ``writable``: in processes that are not the main process."""
        self.path = path
        self.manifest = manifest
        self.is_writable = writable

    @classmethod
    def create(cls, path: Path, manifest: Manifest, config: Config) -> RunDirectory:
        """Make the directory with manifest and config. Raises RunError where it exists and is not empty."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                hint = "Choose another --run, or give --resume to continue it"
                raise RunError("exists", where=path, hint=hint)
        except OSError as error:
            raise RunError(f"cannot be written ({error.strerror})", where=path) from None
        run = cls(path, manifest)
        run.save_manifest()
        write_text(path / CONFIG, config_to_yaml(config))
        return run

    @classmethod
    def open(cls, path: Path, *, writable: bool = True) -> RunDirectory:
        """Open a run directory. Raises RunError where it is none or its manifest is damaged."""
        manifest = path / MANIFEST
        if not manifest.is_file():
            what = (
                "is not a run directory (no manifest.json)"
                if path.exists()
                else "no such run directory"
            )
            raise RunError(
                what, where=path, hint="Train a model with `ld4mrec train`, or name another --run"
            )
        try:
            text = manifest.read_text(encoding="utf-8")
            return cls(path, Manifest.model_validate_json(text), writable=writable)
        except (ValidationError, OSError, UnicodeDecodeError):
            raise RunError("is damaged or of another version", where=manifest) from None

    def reload(self) -> None:
        """Take up what another process wrote into the manifest."""
        self.manifest = self.open(self.path).manifest

    @property
    def config(self) -> Config:
        """The run's complete configuration."""
        try:
            return config_from_mapping(self.manifest.config)
        except ConfigError as error:
            raise RunError(
                f"holds a configuration that does not fit ({error})", where=self.path / MANIFEST
            ) from None

    @property
    def is_unfinished(self) -> bool:
        """Whether training can be resumed."""
        return self.manifest.status in ("running", "interrupted")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run while it is trained; a kill lets go of it.

        Raises:
            RunError: another process holds it.
        """
        if not self.is_writable:
            yield
            return
        with locked_file(self.path / LOCK) as is_locked:
            if not is_locked:
                raise RunError("is being trained by another process", where=self.path)
            yield

    def is_locked(self) -> bool:
        """Whether a process is training the run now."""
        return is_held(self.path / LOCK)

    def change_config(self, config: Config) -> None:
        """Replace the configuration, in the manifest and beside it."""
        if not self.is_writable:
            return
        write_text(self.path / CONFIG, config_to_yaml(config))
        self.update(config=config.model_dump(mode="json"))

    def save_manifest(self) -> None:
        """Write the manifest atomically."""
        if self.is_writable:
            write_json(self.path / MANIFEST, self.manifest.model_dump())

    def update(self, **values: Any) -> None:
        """Change fields of the manifest and save it."""
        self.manifest = self.manifest.model_copy(update=values)
        self.save_manifest()

    def add_serving_tables(self, dataset: Dataset) -> None:
        """Copy ids, titles and training interactions, so that the run serves without the dataset."""
        if not self.is_writable:
            return
        for name in SERVING_TABLES:
            with atomic_file(self.path / name) as temporary:
                shutil.copyfile(dataset.path(name), temporary)
        self._record(SERVING_TABLES)

    def save_signals(self, signals: ItemSignals) -> None:
        """Write the item signals."""
        arrays = {
            f"basis.{name}": np.ascontiguousarray(basis) for name, basis in signals.bases.items()
        }
        arrays["degree"] = np.ascontiguousarray(signals.degree)
        if signals.ease_weights is not None:
            arrays["ease_weights"] = signals.ease_weights
        if signals.ials_items is not None:
            arrays["ials_items"] = signals.ials_items
        self.save_arrays(SIGNALS, arrays)

    def save_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write named arrays as safetensors and note their hash."""
        if not self.is_writable:
            return
        with atomic_file(self.path / name) as temporary:
            save_arrays(
                {key: np.ascontiguousarray(value) for key, value in arrays.items()}, temporary
            )
        self._record([name])

    def load_signals(self) -> ItemSignals:
        """Read the item signals."""
        tensors = self.load_tensors(SIGNALS)
        bases = {
            name.removeprefix("basis."): tensor.numpy()
            for name, tensor in tensors.items()
            if name.startswith("basis.")
        }
        order = ["collaborative", *self.manifest.dataset.modalities]
        n_items = self.manifest.dataset.n_items
        if (
            sorted(order) != sorted(bases)
            or "degree" not in tensors
            or any(len(tensor) != n_items for tensor in tensors.values() if tensor.ndim)
        ):
            raise RunError("does not hold the signals of this run", where=self.path / SIGNALS)
        check_numbers(tensors, self.path / SIGNALS)
        weights, factors = (
            None if tensor is None else tensor.numpy()
            for tensor in (tensors.get("ease_weights"), tensors.get("ials_items"))
        )
        return ItemSignals(
            {name: bases[name] for name in order}, tensors["degree"].numpy(), weights, factors
        )

    def save_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Write the weights that are served."""
        if not self.is_writable:
            return
        with atomic_file(self.path / WEIGHTS) as temporary:
            save_file(
                {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary
            )
        self._record([WEIGHTS])

    def load_tensors(self, name: str) -> dict[str, Tensor]:
        """Read a safetensors file of the run. Raises RunError where it is missing, damaged or changed."""
        path = self.verified_path(name)
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError):
            raise RunError("is damaged", where=path, hint="Train again") from None

    def verified_path(self, name: str) -> Path:
        """Path of a file of the run, compared with its hash. Raises RunError."""
        path = self.path / name
        if not path.is_file() or name not in self.manifest.files:
            if name == WEIGHTS and self.is_unfinished:
                hint = f"Continue it with `ld4mrec train --resume --run {self.path}`"
                raise RunError(
                    f"this run is {self.manifest.status}, it has no weights yet",
                    where=self.path,
                    hint=hint,
                )
            if name == WEIGHTS and self.manifest.status == "diverged":
                raise RunError(
                    "this run diverged before it had weights", where=self.path, hint="Train again"
                )
            raise RunError("is missing from the run", where=path, hint="Train again")
        if sha256(path) != self.manifest.files[name]:
            raise RunError(
                "is damaged: it is not what training wrote", where=path, hint="Train again"
            )
        return path

    def write_metrics(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl``, one object per epoch."""
        if not self.is_writable:
            return
        write_text(self.path / METRICS, "".join(json.dumps(line) + "\n" for line in lines))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read ``metrics.jsonl``."""
        text = (self.path / METRICS).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def validation_curve(self, metric: str) -> dict[int, float]:
        """Value of a validation metric by epoch. Raises RunError where ``metrics.jsonl`` is damaged."""
        try:
            lines = self.read_metrics()
            return {
                int(line["epoch"]): float(line["valid"][metric]) for line in lines if line["valid"]
            }
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise RunError(
                "is damaged", where=self.path / METRICS, hint="Start anew with another directory"
            ) from None

    def save_checkpoint(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Write all that ``--resume`` needs into one file, at once."""
        if not self.is_writable:
            return
        plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        state = json.dumps(values)
        with atomic_file(self.path / CHECKPOINT) as temporary:
            save_file(plain, temporary, metadata={"state": state, "sha256": _digest(plain, state)})

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the checkpoint, None where there is none yet. Raises RunError where it is damaged."""
        path = self.path / CHECKPOINT
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as handle:
                metadata = handle.metadata() or {}
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            if metadata.get("sha256") != _digest(tensors, metadata.get("state", "")):
                raise RunError(
                    "is damaged: it is not what training wrote", where=path, hint="Train again"
                )
            return tensors, json.loads(metadata["state"])
        except (SafetensorError, OSError, ValueError, KeyError, RecursionError):
            raise RunError("is damaged", where=path, hint="Train again") from None

    def delete_checkpoint(self) -> None:
        """Remove the checkpoint of a finished run."""
        if self.is_writable:
            (self.path / CHECKPOINT).unlink(missing_ok=True)

    def remove_temporaries(self) -> None:
        """Remove files that a killed training left half-written."""
        if self.is_writable:
            remove_temporaries(self.path)

    def save_learning_curve(self, plot: Callable[[Path], None]) -> None:
        """Write the learning curve, which ``plot`` draws into the path that it is given."""
        if self.is_writable:
            plot(self.path / CURVE)

    def _record(self, names: Iterable[str]) -> None:
        files = {**self.manifest.files, **{name: sha256(self.path / name) for name in names}}
        self.update(files=dict(sorted(files.items())))


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
