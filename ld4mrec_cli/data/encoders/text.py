"""Text encoder: a local sentence-transformers model directory.

No file of the directory is run as code: its weights are safetensors, its modules the library's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ld4mrec_cli.data.encoders.base import (
    Encode,
    Encoded,
    Progress,
    describe_file,
    encode_in_batches,
    get_package_versions,
    import_extra,
    require_extra,
    resolve_encoder_device,
    scatter_to_items,
)
from ld4mrec_cli.settings.base import TFIDF
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, SourceError

OFFLINE_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
TEXT_BATCH_SIZE = 64
MODULES_FILE = "modules.json"
LIBRARY_NAMESPACE = "sentence_transformers."


def check_text_encoder(options: PrepareConfig) -> None:
    """Check the text encoder of ``options`` without loading it, so that errors come early.

    Raises:
        ConfigError: no local model directory, pickled weights, or a model with its own code.
        UserError: the extra is not installed.
        DeviceError: this machine does not have the device.
    """
    if options.text_encoder == TFIDF:
        return
    directory = Path(options.text_encoder)
    if not directory.is_dir():
        hint = (
            "Models are not downloaded: give the path of a local sentence-transformers directory, "
            "or tfidf"
        )
        raise ConfigError("prepare.text_encoder: no such directory", where=directory, hint=hint)
    _check_modules(directory)
    if not any(directory.rglob("*.safetensors")) or _has_only_pickled_weights(directory):
        hint = "Save the model with safe_serialization=True"
        raise ConfigError(
            "prepare.text_encoder: its weights are not .safetensors", where=directory, hint=hint
        )
    require_extra("sentence_transformers", "text")
    resolve_encoder_device(options.encoder_device)


def encode_texts(
    texts: Sequence[str], options: PrepareConfig, on_progress: Progress | None = None
) -> Encoded:
    """Encode texts, one per item, with the model directory ``options.text_encoder``.

    Items with blank text are imputed.

    Raises:
        SourceError: no item has text, the model cannot be loaded, or it gives NaN or infinity.
    """
    directory = Path(options.text_encoder)
    device = resolve_encoder_device(options.encoder_device)
    # Texts of similar length share a batch, which saves padding. The longest come first: memory
    # runs out at the start or never.
    rows = [row for row, text in enumerate(texts) if text.strip()]
    rows.sort(key=lambda row: -len(texts[row]))
    if not rows:
        hint = "prepare.text_fields names the fields that are read"
        raise SourceError("the items have no text for prepare.text_encoder", hint=hint)
    encode = load_text_encoder(directory, device)
    contents = [texts[row] for row in rows]
    encoded = encode_in_batches("text", contents, encode, TEXT_BATCH_SIZE, on_progress)
    files = [
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not _is_hidden(path, directory)
    ]
    record = {
        "device": device,
        "packages": get_package_versions("torch", "sentence-transformers", "transformers"),
        "files": [describe_file(path, path.relative_to(directory).as_posix()) for path in files],
    }
    return Encoded(scatter_to_items(encoded, rows, len(texts)), record)


def load_text_encoder(directory: Path, device: str) -> Encode[str]:
    """Load a sentence-transformers model from a directory, without network access.

    Raises:
        SourceError: the library cannot load the directory.
    """
    os.environ.update(OFFLINE_ENVIRONMENT)  # the libraries read it at import
    library = import_extra("sentence_transformers", "text")
    try:
        model = library.SentenceTransformer(
            str(directory),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:  # the library raises nearly anything on a damaged directory
        raise SourceError(
            f"cannot be loaded as a sentence-transformers model ({error})", where=directory
        ) from None
    model.float().eval()

    def encode(texts: Sequence[str]) -> np.ndarray:
        return model.encode(
            list(texts), batch_size=len(texts), convert_to_numpy=True, show_progress_bar=False
        )

    return encode


def _check_modules(directory: Path) -> None:
    """Check that ``modules.json``, the list of the model's classes, names only library classes."""
    path = directory / MODULES_FILE
    what = "prepare.text_encoder: is not a sentence-transformers model"
    try:
        classes = [module["type"] for module in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        raise ConfigError(f"{what} (no {MODULES_FILE})", where=directory) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(f"{what} (damaged)", where=path) from None
    for name in classes:
        if not str(name).startswith(LIBRARY_NAMESPACE):
            hint = "Choose a model that has only modules of the library itself"
            raise ConfigError(f"the model brings code of its own, '{name}'", where=path, hint=hint)


def _has_only_pickled_weights(directory: Path) -> bool:
    """Whether a folder of the model has pickled weights and no safetensors beside them."""
    folders = {path.parent for path in directory.rglob("pytorch_model*.bin")}
    return any(not any(folder.glob("*.safetensors")) for folder in folders)


def _is_hidden(path: Path, directory: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(directory).parts)
