"""Image encoder: the pictures in ``images/`` of the raw directory, by a local timm backbone."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

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
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, SourceError, nearest
from ld4mrec_cli.utils.files import sha256

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

IMAGE_FOLDER = "images"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PILLOW_FORMATS = ("JPEG", "PNG", "WEBP")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")
IMAGE_BATCH_SIZE = 32


def check_image_encoder(raw: Path, options: PrepareConfig) -> None:
    """Check the image encoder of ``options`` without loading it, so that errors come early.

    Raises:
        ConfigError: the weights are missing, or the file has another suffix.
        SourceError: the raw directory has no image.
        UserError: the extra is not installed.
        DeviceError: this machine does not have the device.
    """
    weights = options.image_encoder
    if weights is None:
        return
    if not weights.is_file() or weights.suffix not in WEIGHT_SUFFIXES:
        what = "is not a .safetensors, .pth or .pt file" if weights.exists() else "no such file"
        hint = "Weights are not downloaded: give the path of a local file"
        raise ConfigError(f"prepare.image_encoder: {what}", where=weights, hint=hint)
    if raw.is_dir() and not list_images(raw):
        hint = "Name the files by item id, such as B0001.jpg"
        what = "has no image for prepare.image_encoder"
        raise SourceError(what, where=raw / IMAGE_FOLDER, hint=hint)
    require_extra("timm", "images")
    resolve_encoder_device(options.encoder_device)


def list_images(raw: Path) -> list[Path]:
    """Return the image files of a raw directory, sorted by name, without hidden ones."""
    folder = raw / IMAGE_FOLDER
    return [
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    ]


def map_items_to_images(paths: Iterable[Path]) -> dict[str, Path]:
    """Map item ids to image files; the file name is the id, percent-encoded where necessary.

    Raises:
        SourceError: an item has two images, or a name is not percent-encoded UTF-8.
    """
    images: dict[str, Path] = {}
    for path in paths:
        try:
            item = unquote(path.stem, errors="strict")
        except UnicodeDecodeError:
            raise SourceError(
                "its name is not percent-encoded UTF-8", where=path, hint="Write % as %25"
            ) from None
        if item in images:
            raise SourceError(f"item '{item}' has a second image, {images[item].name}", where=path)
        images[item] = path
    return images


def encode_images(
    raw: Path, item_ids: Sequence[str], options: PrepareConfig, on_progress: Progress | None = None
) -> Encoded:
    """Encode the images of the items with the backbone and the weights of ``options``.

    Items without an image are imputed.

    Raises:
        SourceError: no item has an image, or an image or the weights cannot be read.
        ConfigError: the backbone is unknown, or the weights belong to another one.
    """
    weights, device = options.image_encoder, resolve_encoder_device(options.encoder_device)
    assert weights is not None
    images = map_items_to_images(list_images(raw))
    rows = [row for row, item in enumerate(item_ids) if item in images]
    if not rows:
        hint = f"Name the files by item id, such as {quote(item_ids[0], safe=' ')}.jpg"
        what = "has no image of any item"
        raise SourceError(what, where=raw / IMAGE_FOLDER, hint=hint)
    paths = [images[item_ids[row]] for row in rows]
    encode = load_image_encoder(weights, options.image_backbone, device)
    encoded = encode_in_batches("image", paths, encode, IMAGE_BATCH_SIZE, on_progress)
    n_unused = len(images) - len(paths)
    return Encoded(
        scatter_to_items(encoded, rows, len(item_ids)),
        {
            "device": device,
            "packages": get_package_versions("torch", "torchvision", "timm", "pillow"),
            "backbone": options.image_backbone,
            "files": [describe_file(weights, weights.name)],
            "images": {"count": len(paths), "sha256": hash_images(paths)},
        },
        {"images of items that are not kept": n_unused} if n_unused else {},
    )


def open_image(path: Path) -> Image:
    """Decode an image to RGB: upright, and on white where it is transparent.

    Raises:
        SourceError: the image is damaged, too large or of another format.
    """
    from PIL import Image, ImageOps  # an optional package

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata does no harm, excessive sizes do
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=PILLOW_FORMATS) as file:
                image = ImageOps.exif_transpose(file)
                if image.has_transparency_data:
                    image = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                return image.convert("RGB")
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = str(error).replace(f" {str(path)!r}", "")
        raise SourceError(
            f"the image cannot be read ({reason})", where=path, hint="Replace or remove it"
        ) from None


def load_image_encoder(weights: Path, backbone: str, device: str) -> Encode[Path]:
    """Load a timm backbone without its classifier; it encodes image files to its last features."""
    import torch

    timm = import_extra("timm", "images")
    model = load_backbone(timm, backbone, weights).to(device).eval()
    transform = timm.data.create_transform(
        **timm.data.resolve_model_data_config(model), is_training=False
    )

    def encode(paths: Sequence[Path]) -> np.ndarray:
        batch = torch.stack([transform(open_image(path)) for path in paths]).to(device)
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(deterministic=True, benchmark=False, allow_tf32=False),
        ):
            return model(batch).float().cpu().numpy()

    return encode


def load_backbone(timm: ModuleType, backbone: str, weights: Path) -> nn.Module:
    """Create the backbone and load all of its weights.

    Raises:
        ConfigError: the backbone is unknown, or the weights belong to another one.
        SourceError: the weights cannot be read.
    """
    models = timm.list_models()
    # This check also refuses names that timm would look up in a hub.
    if backbone.split(".", maxsplit=1)[0] not in models:
        raise ConfigError(
            f"prepare.image_backbone: unknown model '{backbone}'", hint=nearest(backbone, models)
        )
    try:
        model = timm.create_model(backbone, pretrained=False, num_classes=0)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"prepare.image_backbone: '{backbone}' cannot be created ({error})"
        ) from None
    mismatch = _load_weights(model, _read_weights(timm, weights))
    if mismatch:
        hint = "prepare.image_backbone must name the model of these weights"
        raise ConfigError(
            f"the weights are not those of '{backbone}' ({mismatch})", where=weights, hint=hint
        )
    return model


def hash_images(paths: Iterable[Path]) -> str:
    """Return one SHA-256 over the names and contents of files, sorted by name."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        digest.update(f"{path.name}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def _read_weights(timm: ModuleType, path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; pickled objects are refused
            return timm.models.load_state_dict(str(path), device="cpu", weights_only=True)
    except Exception as error:  # readers of damaged files raise nearly anything
        reason = re.split(r"\n|\. ", str(error).strip(), maxsplit=1)[0]
        hint = "Plain weights are needed, best as .safetensors"
        raise SourceError(f"cannot be read as weights ({reason})", where=path, hint=hint) from None


def _load_weights(model: Any, state: dict[str, Any]) -> str | None:
    """Load weights into the model; return the mismatch, or None. Classifier weights are ignored."""
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a header line, then one line per shape that differs
        return re.sub(r"\s+", " ", str(error).strip().split("\n")[-1]).strip(" .")
    classifier = model.pretrained_cfg.get("classifier") or ()
    modules = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    prefixes = tuple(f"{module}." for module in modules)
    unexpected = [name for name in unexpected if not name.startswith(prefixes)]
    if missing:
        return f"'{missing[0]}' is missing"
    return f"'{unexpected[0]}' is not in the model" if unexpected else None
