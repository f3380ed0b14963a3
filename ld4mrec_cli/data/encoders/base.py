"""Shared code of the optional encoders of item texts and images.

All weights are local. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ld4mrec_cli.data.features import Modality, impute
from ld4mrec_cli.utils.errors import DeviceError, SourceError
from ld4mrec_cli.utils.files import sha256

Content = TypeVar("Content")
Encode = Callable[[Sequence[Content]], np.ndarray]
"""Turns a batch of n texts or image files into ``(n, dim)`` values."""
Progress = Callable[[str, int, int], None]
"""Called with what is done ("encoding text"), for how many items already, and for how many."""


@dataclass(frozen=True)
class Encoded:
    """A modality from an encoder."""

    modality: Modality
    record: dict[str, Any]
    """The encoder's entry in the provenance: device, package versions, files with their hashes."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Why contents were not encoded, and how many."""
    unreadable: tuple[str, ...] = ()
    """Messages of the first contents that could not be read."""


def encode_in_batches(
    modality: str,
    contents: Sequence[Content],
    encode: Encode[Content],
    batch_size: int,
    on_progress: Progress | None,
) -> np.ndarray:
    """Encode ``contents`` batch by batch to ``(n, dim)`` float32.

    Raises:
        SourceError: the encoder gives NaN or infinity.
    """
    batches = []
    for start in range(0, len(contents), batch_size):
        batch = contents[start : start + batch_size]
        values = np.asarray(encode(batch), dtype=np.float32)
        if not np.isfinite(values).all():
            raise SourceError(
                f"the {modality} encoder gives NaN or infinity", hint="Are its weights damaged?"
            )
        batches.append(values)
        if on_progress is not None:
            on_progress(f"encoding {modality}", start + len(batch), len(contents))
    return np.concatenate(batches)


def scatter_to_items(encoded: np.ndarray, rows: Sequence[int], n_items: int) -> Modality:
    """Put encoded values ``(n, dim)`` at the ``rows`` of their items; impute the other items."""
    values = np.zeros((n_items, encoded.shape[1]), dtype=np.float32)
    present = np.zeros(n_items, dtype=bool)
    values[rows], present[rows] = encoded, True
    return impute(values, present)


def resolve_encoder_device(name: Literal["auto", "cpu", "cuda"]) -> str:
    """Return ``cpu`` or ``cuda``. Raises DeviceError where there is no CUDA device."""
    import torch  # slow to import, and only encoders need it here

    if name == "cuda" and not torch.cuda.is_available():
        what = "prepare.encoder_device is cuda, but this machine has no usable CUDA device"
        raise DeviceError(what, hint="Set it to auto or cpu")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def describe_file(path: Path, name: str) -> dict[str, Any]:
    """Return name, size in bytes and SHA-256 of a file, for the provenance."""
    return {"name": name, "bytes": path.stat().st_size, "sha256": sha256(path)}
