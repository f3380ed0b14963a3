"""Model directories as Hugging Face's libraries save them, checked before they are loaded.

No file of a directory is run as code, and no pickled weights are read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ld4mrec_cli.data.encoders.base import describe_file
from ld4mrec_cli.utils.errors import ConfigError

CONFIG_FILE = "config.json"


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file of a model. Raises ConfigError, beginning with ``what``."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{what} (no {path.name})", where=path.parent) from None
    except (OSError, ValueError, RecursionError):
        raise ConfigError(f"{what} (damaged)", where=path) from None


def read_model_config(directory: Path, what: str) -> dict[str, Any]:
    """Read ``config.json`` of a model. Raises ConfigError, beginning with ``what``."""
    config = read_json(directory / CONFIG_FILE, what)
    if not isinstance(config, dict):
        raise ConfigError(f"{what} (damaged)", where=directory / CONFIG_FILE)
    return config


def check_safetensors(directory: Path, key: str) -> None:
    """Raise ConfigError where a model has pickled weights alone, or none."""
    if any(directory.rglob("*.safetensors")) and not _has_only_pickled_weights(directory):
        return
    what = f"{key}: its weights are not .safetensors"
    raise ConfigError(what, where=directory, hint="Save the model with safe_serialization=True")


def describe_model_directory(directory: Path) -> list[dict[str, Any]]:
    """Return name, size and SHA-256 of the files of a model, without hidden ones."""
    files = {path.relative_to(directory): path for path in sorted(directory.rglob("*"))}
    return [
        describe_file(path, name.as_posix())
        for name, path in files.items()
        if path.is_file() and not any(part.startswith(".") for part in name.parts)
    ]


def _has_only_pickled_weights(directory: Path) -> bool:
    """Whether a folder of the model has pickled weights and no safetensors beside them."""
    folders = {path.parent for path in directory.rglob("pytorch_model*.bin")}
    return any(not any(folder.glob("*.safetensors")) for folder in folders)
