"""``checkpoint.safetensors``: the state that ``--resume`` needs, in one file with a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ld4mrec_cli.utils.errors import RunError
from ld4mrec_cli.utils.files import atomic_file


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and plain ``values`` atomically."""
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    state = json.dumps(values)
    with atomic_file(path) as temporary:
        save_file(plain, temporary, metadata={"state": state, "sha256": _digest(plain, state)})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and values of a checkpoint. Raises RunError where it is damaged."""
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


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    """SHA-256 over the state, and name, dtype, shape and bytes of each tensor."""
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        header = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        digest.update(header.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
