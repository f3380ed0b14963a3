"""Text encoder: a local model directory of sentence-transformers or of transformers.

No file of the directory is run as code: its weights are safetensors, its modules the library's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ld4mrec_cli.data.encoders.base import (
    Encode,
    Encoded,
    Progress,
    encode_in_batches,
    resolve_encoder_device,
    scatter_to_items,
)
from ld4mrec_cli.data.encoders.extras import get_package_versions, import_extra, require_extra
from ld4mrec_cli.data.encoders.model_directory import (
    CONFIG_FILE,
    check_safetensors,
    describe_model_directory,
    read_json,
    read_model_config,
)
from ld4mrec_cli.settings.base import TFIDF
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, SourceError

KEY = "prepare.text_encoder"
TEXT_BATCH_SIZE = 64
MODULES_FILE = "modules.json"
LIBRARY_NAMESPACE = "sentence_transformers."
FIXED_LENGTH = ("siglip", "siglip2")
"""Model types that were trained on texts padded to full length, and read no attention mask."""


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
        hint = "Models are not downloaded: give the path of a local model directory, or tfidf"
        raise ConfigError(f"{KEY}: no such directory", where=directory, hint=hint)
    _check_modules(directory)
    check_safetensors(directory, KEY)
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
    record = {
        "device": device,
        "packages": get_package_versions("torch", "sentence-transformers", "transformers"),
        "files": describe_model_directory(directory),
    }
    return Encoded(scatter_to_items(encoded, rows, len(texts)), record)


def load_text_encoder(directory: Path, device: str) -> Encode[str]:
    """Load a model from a directory, without network access.

    sentence-transformers reads a directory of transformers too: of a model of images and texts
    (CLIP, SigLIP) it takes the texts' side, of others the mean over the tokens.

    Raises:
        SourceError: the library cannot load the directory.
    """
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
        what = f"cannot be loaded as a model of texts ({error})"
        raise SourceError(what, where=directory) from None
    model.float().eval()
    _pad_to_fixed_length(model, directory)

    def encode(texts: Sequence[str]) -> np.ndarray:
        return model.encode(
            list(texts), batch_size=len(texts), convert_to_numpy=True, show_progress_bar=False
        )

    return encode


def _check_modules(directory: Path) -> None:
    """Check that ``modules.json``, the list of the model's classes, names only library classes.

    A directory of transformers has ``config.json`` alone.
    """
    path = directory / MODULES_FILE
    what = f"{KEY}: is not a model directory"
    if not path.exists():
        if not (directory / CONFIG_FILE).exists():
            raise ConfigError(f"{what} (no {MODULES_FILE}, no {CONFIG_FILE})", where=directory)
        if not isinstance(read_model_config(directory, what).get("model_type"), str):
            raise ConfigError(f"{what} ({CONFIG_FILE} has no model_type)", where=directory)
        return
    modules = read_json(path, what)
    try:
        classes = [module["type"] for module in modules]
    except (KeyError, TypeError):
        raise ConfigError(f"{what} (damaged)", where=path) from None
    for name in classes:
        if not str(name).startswith(LIBRARY_NAMESPACE):
            hint = "Choose a model that has only modules of the library itself"
            raise ConfigError(f"the model brings code of its own, '{name}'", where=path, hint=hint)


def _pad_to_fixed_length(model: Any, directory: Path) -> None:
    """Pad texts as such a model was trained; else a vector would depend on the texts beside it."""
    if (directory / MODULES_FILE).exists():
        return
    config = read_model_config(directory, KEY)
    if config["model_type"] in FIXED_LENGTH:
        length = model[0].config.text_config.max_position_embeddings
        padding = {"padding": "max_length", "max_length": length}
        model[0].processing_kwargs = {"text": padding}
