"""Optional encoders on local weights: what all of them share, and the one for text.

Nothing is ever fetched, and nothing that a model directory holds is run as code: weights are safetensors.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import numpy as np

from ld4mrec_cli.data.features import Modality, impute
from ld4mrec_cli.settings.base import TFIDF
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, DeviceError, SourceError, UserError
from ld4mrec_cli.utils.files import sha256

Content = TypeVar("Content")
Encode = Callable[[Sequence[Content]], np.ndarray]
"""Turns a batch of n texts or image files into ``(n, dim)`` values."""
Progress = Callable[[str, int, int], None]
"""Is told the modality, how many items are encoded and how many there are."""

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
TEXT_BATCH = 64
MODULES_FILE = "modules.json"
OWN_NAMESPACE = "sentence_transformers."


@dataclass(frozen=True)
class Encoded:
    """A modality that an encoder made."""

    modality: Modality
    record: dict[str, Any]
    """What the provenance says of the encoder: its files with their hashes, package versions, device."""
    left_out: dict[str, int] = field(default_factory=dict)
    """What was not encoded, and how many."""


def check_text_encoder(options: PrepareConfig) -> None:
    """Check the configured text encoder without loading it, so that a fault shows before the long work.

    Raises:
        ConfigError: it is no local model directory, its weights are pickled, or it brings its own code.
        UserError: the extra is not installed.
        DeviceError: this machine does not have the device.
    """
    if options.text_encoder == TFIDF:
        return
    directory = Path(options.text_encoder)
    if not directory.is_dir():
        hint = "Models are not downloaded: give the path of a local sentence-transformers directory, or tfidf"
        raise ConfigError("prepare.text_encoder: no such directory", where=directory, hint=hint)
    _check_modules(directory)
    if not any(directory.rglob("*.safetensors")) or _pickled_weights(directory):
        hint = "Save the model with safe_serialization=True"
        raise ConfigError(
            "prepare.text_encoder: its weights are not .safetensors", where=directory, hint=hint
        )
    require_extra("sentence_transformers", "text")
    encoder_device(options.encoder_device)


def encode_texts(
    texts: Sequence[str], options: PrepareConfig, on_progress: Progress | None = None
) -> Encoded:
    """Encode texts, one per item, with the model directory that ``options.text_encoder`` names.

    Items with blank text are imputed.

    Raises:
        SourceError: no item has text, the directory cannot be loaded, or the model gives NaN or infinity.
    """
    directory, device = Path(options.text_encoder), encoder_device(options.encoder_device)
    # texts of like length share a batch, so little is padded; the longest first, so memory runs out early or never
    order = sorted(
        (row for row, text in enumerate(texts) if text.strip()), key=lambda row: -len(texts[row])
    )
    if not order:
        hint = "prepare.text_fields names the fields that are read"
        raise SourceError("the items have no text for prepare.text_encoder", hint=hint)
    encode = load_text_encoder(directory, device)
    encoded = in_batches("text", [texts[row] for row in order], encode, TEXT_BATCH, on_progress)
    files = [
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not _is_hidden(path, directory)
    ]
    record = {
        "device": device,
        "packages": package_versions("torch", "sentence-transformers", "transformers"),
        "files": [file_record(path, path.relative_to(directory).as_posix()) for path in files],
    }
    return Encoded(spread(encoded, order, len(texts)), record)


def load_text_encoder(directory: Path, device: str) -> Encode[str]:
    """Load a sentence-transformers model from its directory, without network access or code of its own."""
    os.environ.update(OFFLINE)  # read when the libraries are imported
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


def in_batches(
    modality: str,
    contents: Sequence[Content],
    encode: Encode[Content],
    size: int,
    on_progress: Progress | None,
) -> np.ndarray:
    """Encode in batches of ``size`` to ``(n, dim)`` float32. Raises SourceError on NaN or infinity."""
    parts = []
    for start in range(0, len(contents), size):
        batch = contents[start : start + size]
        parts.append(np.asarray(encode(batch), dtype=np.float32))
        if not np.isfinite(parts[-1]).all():
            raise SourceError(
                f"the {modality} encoder gives NaN or infinity", hint="Are its weights damaged?"
            )
        if on_progress is not None:
            on_progress(modality, start + len(batch), len(contents))
    return np.concatenate(parts)


def spread(encoded: np.ndarray, rows: Sequence[int], n_items: int) -> Modality:
    """Put encoded values at the ``rows`` of their items; the other items are imputed."""
    values = np.zeros((n_items, encoded.shape[1]), dtype=np.float32)
    present = np.zeros(n_items, dtype=bool)
    values[rows], present[rows] = encoded, True
    return impute(values, present)


def encoder_device(name: Literal["auto", "cpu", "cuda"]) -> str:
    """Choose ``cpu`` or ``cuda``. Raises DeviceError where there is no CUDA device."""
    import torch  # slow to import, needed with an encoder alone

    if name == "cuda" and not torch.cuda.is_available():
        what = "prepare.encoder_device is cuda, but this machine has no usable CUDA device"
        raise DeviceError(what, hint="Set it to auto or cpu")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def require_extra(module: str, extra: str) -> None:
    """Raise UserError with the command that mends it where ``module`` is not installed."""
    if importlib.util.find_spec(module) is None:
        raise UserError(f"needs the extra: pip install 'ld4mrec[{extra}]'")


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module of an optional extra. Raises UserError where it is missing or does not import."""
    require_extra(module, extra)
    try:
        return importlib.import_module(module)
    except (
        ImportError,
        RuntimeError,
        OSError,
        AttributeError,
    ) as error:  # such as builds that do not fit together
        hint = f"Install it anew: pip install --force-reinstall 'ld4mrec[{extra}]'"
        raise UserError(f"the package {module} cannot be imported ({error})", hint=hint) from None


def file_record(path: Path, name: str) -> dict[str, Any]:
    """Name, size and hash of a file, for the provenance."""
    return {"name": name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def package_versions(*names: str) -> dict[str, str]:
    """Versions of those of the packages that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _check_modules(directory: Path) -> None:
    """A model's ``modules.json`` names the classes it is made of; only the library's own are let in."""
    path = directory / MODULES_FILE
    what = "prepare.text_encoder: is not a sentence-transformers model"
    try:
        classes = [module["type"] for module in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        raise ConfigError(f"{what} (no {MODULES_FILE})", where=directory) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{what} (damaged)", where=path) from None
    for name in classes:
        if not str(name).startswith(OWN_NAMESPACE):
            hint = (
                "Such models are not loaded: choose one that is made of the library's own modules"
            )
            raise ConfigError(f"the model brings code of its own, '{name}'", where=path, hint=hint)


def _pickled_weights(directory: Path) -> bool:
    folders = {path.parent for path in directory.rglob("pytorch_model*.bin")}
    return any(not any(folder.glob("*.safetensors")) for folder in folders)


def _is_hidden(path: Path, directory: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(directory).parts)
