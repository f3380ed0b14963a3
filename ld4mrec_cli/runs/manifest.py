"""``manifest.json``: everything that is known of a run, protected by a checksum."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ld4mrec_cli.data.row_values import RowValues
from ld4mrec_cli.settings.base import Count, NonNegative, Positive
from ld4mrec_cli.utils.errors import RunError
from ld4mrec_cli.utils.files import write_json
from ld4mrec_cli.utils.names import FileName

CHECKSUM = "checksum"


class DatasetInfo(BaseModel):
    """The dataset that a run was trained on."""

    model_config = ConfigDict(extra="forbid")
    path: str
    name: FileName
    hash: str
    n_users: Count
    n_items: Count
    modalities: list[str]
    mean_weight: Positive | None = None
    """Mean weight of the interactions that the run was trained on, which the rows that it reads are
    divided by; None: all interactions count the same."""
    history_half_life: Positive | None = None
    """Later items of a history for which the weight of an item halves when the run scores; None:
    old and new items count the same."""

    @property
    def row_values(self) -> RowValues:
        """What an interaction counts in the rows that the run scores."""
        return RowValues(self.mean_weight, self.history_half_life)

    @property
    def training_values(self) -> RowValues:
        """What an interaction counts in the rows that the run is trained on."""
        return RowValues(self.mean_weight)


class BestEpoch(BaseModel):
    """The epoch whose weights are served."""

    model_config = ConfigDict(extra="forbid")
    epoch: int
    metric: str
    value: float
    valid: dict[str, float]


class RefitSource(BaseModel):
    """The run whose settings and number of epochs a refit has."""

    model_config = ConfigDict(extra="forbid")
    run: str
    started: str
    epochs: Count
    """Epochs that its weights were trained for, and so those of the refit."""
    dataset_hash: str


class InitSource(BaseModel):
    """The run whose weights a training started from."""

    model_config = ConfigDict(extra="forbid")
    run: str
    started: str
    weights_hash: str
    """SHA-256 of the file of the weights."""
    dataset_hash: str
    users: Count
    """Users that both datasets have."""
    items: Count
    """Items that both datasets have."""


class NewItems(BaseModel):
    """Items that a run was extended by."""

    model_config = ConfigDict(extra="forbid")
    source: str
    """The run that was extended."""
    count: Count
    """New items, with those that the source had already."""
    weight: Positive
    """Factor of their scores."""


class Manifest(BaseModel):
    """Content of ``manifest.json``, without its checksum."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["ld4mrec-run"] = "ld4mrec-run"
    version: Literal[1] = 1
    status: Literal["running", "interrupted", "diverged", "complete"] = "running"
    name: FileName
    model: str
    seed: int
    config: dict[str, Any]
    config_hash: str = ""
    """SHA-256 of ``config.yaml``; empty before the file is written."""
    dataset: DatasetInfo
    versions: dict[str, str]
    device: str
    started: str
    epochs: int = 0
    seconds: float = 0.0
    peak_memory_mb: float | None = None
    best: BestEpoch | None = None
    """None for a refit, which has no validation."""
    chosen: dict[str, Any] | None = None
    """Settings that were ``auto`` and were chosen on validation before the training, by key; None:
    nothing was chosen yet."""
    mixture: dict[str, NonNegative] = {}
    """Weights of the parts of a mixture that were chosen on validation, by name; of a refit, by
    that of the run it came from."""
    trend_half_life: Positive | None = None
    """Time after which an interaction counts half for what is popular now, in the unit of the
    timestamps; None: scores are not corrected by it. Its power is in ``mixture``."""
    refit_of: RefitSource | None = None
    """Set where the run was trained on every interaction, without validation."""
    init_from: InitSource | None = None
    """Set where the training started from the weights of another run."""
    new_items: NewItems | None = None
    """Set where the run knows items beyond those of the dataset, after them."""
    notes: list[str] = []
    files: dict[str, str] = {}
    """SHA-256 by file name."""


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest and its checksum atomically."""
    write_json(path, add_checksum(manifest.model_dump()))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        RunError: it is damaged, of another version, or was changed since it was written.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest.model_validate({k: v for k, v in values.items() if k != CHECKSUM})
    except (ValidationError, OSError, ValueError, AttributeError, RecursionError):
        raise RunError("is damaged or of another version", where=path) from None
    if add_checksum(values) != values:
        hint = "Train again; settings are changed by --config and --set"
        raise RunError("was changed since ld4mrec wrote it", where=path, hint=hint)
    return manifest


def add_checksum(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` with the checksum of all of them, as the last entry."""
    content = {key: value for key, value in values.items() if key != CHECKSUM}
    text = json.dumps(content, sort_keys=True)
    return {**content, CHECKSUM: hashlib.sha256(text.encode()).hexdigest()}
