"""Image encoder: the pictures in ``images/`` of the raw directory, by a local model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ld4mrec_cli.data.encoders.base import (
    Encode,
    Encoded,
    Progress,
    describe_file,
    encode_in_batches,
    resolve_encoder_device,
    scatter_to_items,
)
from ld4mrec_cli.data.encoders.extras import get_package_versions, require_extra
from ld4mrec_cli.data.encoders.image_model import make_encoder
from ld4mrec_cli.data.encoders.model_directory import (
    CONFIG_FILE,
    check_safetensors,
    describe_model_directory,
    read_model_config,
)
from ld4mrec_cli.data.encoders.picture import (
    IMAGE_FOLDER,
    find_unreadable,
    list_images,
    map_items_to_images,
)
from ld4mrec_cli.data.encoders.timm_backbone import load_timm_directory, load_timm_file
from ld4mrec_cli.data.encoders.vision_transformers import (
    PROCESSOR_FILES,
    load_transformers_directory,
)
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, SourceError
from ld4mrec_cli.utils.files import sha256

KEY = "prepare.image_encoder"
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")
IMAGE_BATCH_SIZE = 32


@dataclass(frozen=True)
class ImageSource:
    """What ``prepare.image_encoder`` names."""

    path: Path
    package: str
    """``timm`` or ``transformers``."""
    name: str
    """Name of the model in the library."""


def check_image_encoder(raw: Path, options: PrepareConfig) -> None:
    """Check the image encoder of ``options`` without loading it, so that errors come early.

    Raises:
        ConfigError: the weights are missing, of another kind, or not safe to load.
        SourceError: the raw directory has no image.
        UserError: the extra is not installed.
        DeviceError: this machine does not have the device.
    """
    if options.image_encoder is None:
        return
    source = recognize_image_encoder(options.image_encoder, options)
    if raw.is_dir() and not list_images(raw):
        hint = "Name the files by item id, such as B0001.jpg"
        raise SourceError(f"has no image for {KEY}", where=raw / IMAGE_FOLDER, hint=hint)
    require_extra(source.package, "images")
    resolve_encoder_device(options.encoder_device)


def recognize_image_encoder(path: Path, options: PrepareConfig) -> ImageSource:
    """Tell a file of weights from a directory of timm and one of transformers.

    Raises:
        ConfigError: the path is none of them, or its weights are pickled.
    """
    if not path.is_dir():
        if path.is_file() and path.suffix in WEIGHT_SUFFIXES:
            return ImageSource(path, "timm", options.image_backbone)
        what = "is not a .safetensors, .pth or .pt file" if path.exists() else "no such file"
        hint = "Models are not downloaded: give a local file of weights or model directory"
        raise ConfigError(f"{KEY}: {what}", where=path, hint=hint)
    config = read_model_config(path, f"{KEY}: is not a model directory")
    check_safetensors(path, KEY)
    _check_backbone_is_unset(path, options)
    model_type, architecture = config.get("model_type"), config.get("architecture")
    if isinstance(architecture, str) and model_type in (None, "timm_wrapper"):
        return ImageSource(path, "timm", architecture)
    if not isinstance(model_type, str):
        what = f"{KEY}: {CONFIG_FILE} has neither a model_type nor an architecture"
        raise ConfigError(what, where=path, hint="Take a directory of transformers or timm")
    if not any((path / name).is_file() for name in PROCESSOR_FILES):
        hint = "It says how pictures are prepared; save the image processor beside the model"
        raise ConfigError(f"{KEY}: has no {PROCESSOR_FILES[0]}", where=path, hint=hint)
    return ImageSource(path, "transformers", model_type)


def _check_backbone_is_unset(path: Path, options: PrepareConfig) -> None:
    if options.image_backbone != PrepareConfig.model_fields["image_backbone"].default:
        what = f"{KEY} is a directory, which names its own model"
        raise ConfigError(what, where=path, hint="Leave prepare.image_backbone out")


def encode_images(
    raw: Path, item_ids: Sequence[str], options: PrepareConfig, on_progress: Progress | None = None
) -> Encoded:
    """Encode the images of the items with the model of ``options``.

    Items without an image are imputed.

    Raises:
        SourceError: no item has an image, or an image or the weights cannot be read.
        ConfigError: the model is unknown, or the weights belong to another one.
    """
    assert options.image_encoder is not None
    source = recognize_image_encoder(options.image_encoder, options)
    device = resolve_encoder_device(options.encoder_device)
    images = map_items_to_images(list_images(raw))
    of_items = {row: images[item] for row, item in enumerate(item_ids) if item in images}
    encode, packages = load_image_encoder(source, device)
    unreadable, messages = find_unreadable(
        list(of_items.values()),
        options.max_errors if options.on_error == "skip" else None,
        lambda done, total: on_progress and on_progress("checking images", done, total),
    )
    readable = {row: path for row, path in of_items.items() if path not in unreadable}
    if not readable:
        hint = f"Name the files by item id, such as {quote(item_ids[0], safe=' ')}.jpg"
        raise SourceError("has no image of any item", where=raw / IMAGE_FOLDER, hint=hint)
    paths = list(readable.values())
    encoded = encode_in_batches("image", paths, encode, IMAGE_BATCH_SIZE, on_progress)
    left_out = {
        "images of items that are not kept": len(images) - len(of_items),
        "images that cannot be read": len(unreadable),
    }
    return Encoded(
        scatter_to_items(encoded, list(readable), len(item_ids)),
        {
            "device": device,
            "packages": get_package_versions(*packages),
            "backbone": source.name,
            "files": _describe_weights(source.path),
            "images": {"count": len(paths), "sha256": hash_images(paths)},
        },
        {reason: count for reason, count in left_out.items() if count},
        messages,
    )


def load_image_encoder(source: ImageSource, device: str) -> tuple[Encode[Path], tuple[str, ...]]:
    """Load the model; return its encoder, and the packages whose versions matter."""
    if source.package == "transformers":
        model = load_transformers_directory(source.path, source.name)
    elif source.path.is_dir():
        model = load_timm_directory(source.path)
    else:
        model = load_timm_file(source.path, source.name)
    return make_encoder(model, source.path, device), model.packages


def hash_images(paths: Iterable[Path]) -> str:
    """Return one SHA-256 over the names and contents of files, sorted by name."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        digest.update(f"{path.name}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def _describe_weights(path: Path) -> list[dict[str, Any]]:
    return describe_model_directory(path) if path.is_dir() else [describe_file(path, path.name)]
