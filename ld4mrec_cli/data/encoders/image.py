"""Images of the items: found in the folder ``images/`` of the raw directory, encoded by a local backbone."""

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

from ld4mrec_cli.data.encoders.text import (
    Encode,
    Encoded,
    Progress,
    encoder_device,
    file_record,
    import_extra,
    in_batches,
    package_versions,
    require_extra,
    spread,
)
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, SourceError, nearest
from ld4mrec_cli.utils.files import sha256

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

FOLDER = "images"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "WEBP")
WEIGHTS = (".safetensors", ".pth", ".pt")
IMAGE_BATCH = 32


def check_image_encoder(raw: Path, options: PrepareConfig) -> None:
    """Check the configured image encoder without loading it, so that a fault shows before the long work.

    Raises:
        ConfigError: the weights are missing or of another kind of file.
        SourceError: the raw directory has no image.
        UserError: the extra is not installed.
        DeviceError: this machine does not have the device.
    """
    weights = options.image_encoder
    if weights is None:
        return
    if not weights.is_file() or weights.suffix not in WEIGHTS:
        what = "is not a .safetensors, .pth or .pt file" if weights.exists() else "no such file"
        hint = "Weights are not downloaded: give the path of a local file"
        raise ConfigError(f"prepare.image_encoder: {what}", where=weights, hint=hint)
    if raw.is_dir() and not image_paths(raw):
        hint = "Name the files by item id, such as B0001.jpg"
        raise SourceError("holds no image for prepare.image_encoder", where=raw / FOLDER, hint=hint)
    require_extra("timm", "images")
    encoder_device(options.encoder_device)


def image_paths(raw: Path) -> list[Path]:
    """The image files of a raw directory, in order of name; hidden ones are passed over."""
    folder = raw / FOLDER
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        p
        for p in found
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    ]


def by_item(paths: Iterable[Path]) -> dict[str, Path]:
    """Map item ids to their image; the file name is the id, percent-encoded where it must be.

    Raises:
        SourceError: an item has two images, or a name is not percent-encoded UTF-8.
    """
    found: dict[str, Path] = {}
    for path in paths:
        try:
            item = unquote(path.stem, errors="strict")
        except UnicodeDecodeError:
            raise SourceError(
                "its name is not percent-encoded UTF-8", where=path, hint="Write % as %25"
            ) from None
        if item in found:
            raise SourceError(f"item '{item}' has a second image, {found[item].name}", where=path)
        found[item] = path
    return found


def encode_images(
    raw: Path, item_ids: Sequence[str], options: PrepareConfig, on_progress: Progress | None = None
) -> Encoded:
    """Encode the images of the items with the backbone and weights that ``options`` names.

    Items without an image are imputed.

    Raises:
        SourceError: no item has an image, an image cannot be read, or the weights cannot be loaded.
        ConfigError: the backbone is unknown, or the weights are another's.
    """
    weights, device = options.image_encoder, encoder_device(options.encoder_device)
    assert weights is not None
    images = by_item(image_paths(raw))
    rows = [row for row, item in enumerate(item_ids) if item in images]
    if not rows:
        hint = f"Name the files by item id, such as {quote(item_ids[0], safe=' ')}.jpg"
        raise SourceError("holds an image of none of the items", where=raw / FOLDER, hint=hint)
    paths = [images[item_ids[row]] for row in rows]
    encode = load_image_encoder(weights, options.image_backbone, device)
    encoded = in_batches("image", paths, encode, IMAGE_BATCH, on_progress)
    others = len(images) - len(paths)
    return Encoded(
        spread(encoded, rows, len(item_ids)),
        {
            "device": device,
            "packages": package_versions("torch", "torchvision", "timm", "pillow"),
            "backbone": options.image_backbone,
            "files": [file_record(weights, weights.name)],
            "images": {"count": len(paths), "sha256": hash_of_all(paths)},
        },
        {"images of items that are not kept": others} if others else {},
    )


def open_image(path: Path) -> Image:
    """Decode an image to RGB, upright and on white where it is transparent. Raises SourceError."""
    from PIL import Image, ImageOps  # needed for images alone

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of metadata do not matter …
            warnings.simplefilter(
                "error", Image.DecompressionBombWarning
            )  # … but excessive sizes do
            with Image.open(path, formats=FORMATS) as file:
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
    """Load a timm backbone without its classifier: image files to penultimate features."""
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
    """Make the backbone and give it its weights, all of them.

    Raises:
        ConfigError: the backbone is unknown, or the weights are another's.
        SourceError: the weights cannot be read.
    """
    known = timm.list_models()
    if (
        backbone.split(".", maxsplit=1)[0] not in known
    ):  # also keeps out names that timm would look up in a hub
        raise ConfigError(
            f"prepare.image_backbone: unknown model '{backbone}'", hint=nearest(backbone, known)
        )
    try:
        model = timm.create_model(backbone, pretrained=False, num_classes=0)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"prepare.image_backbone: '{backbone}' cannot be made ({error})"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of pickle protocols; what is not plain weights is an error
            state = timm.models.load_state_dict(str(weights), device="cpu", weights_only=True)
    except Exception as error:  # the readers of damaged files raise nearly anything
        reason = re.split(r"\n|\. ", str(error).strip(), maxsplit=1)[0]
        hint = "Plain weights are needed, best as .safetensors"
        raise SourceError(
            f"cannot be read as weights ({reason})", where=weights, hint=hint
        ) from None
    if misfit := _load_all(model, state):
        hint = "prepare.image_backbone names the model that the weights belong to"
        raise ConfigError(
            f"the weights are not those of '{backbone}' ({misfit})", where=weights, hint=hint
        )
    return model


def hash_of_all(paths: Iterable[Path]) -> str:
    """One SHA-256 over the names and contents of files, in order of name."""
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        total.update(f"{path.name}\0{sha256(path)}\n".encode())
    return total.hexdigest()


def _load_all(model: Any, state: dict[str, Any]) -> str | None:
    """Fill the model and say what does not fit; only weights of the classifier may be left over."""
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a header line, then one line for each shape that differs
        return re.sub(r"\s+", " ", str(error).strip().split("\n")[-1]).strip(" .")
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    foreign = [
        name for name in unexpected if not name.startswith(tuple(f"{head}." for head in heads))
    ]
    if missing:
        return f"'{missing[0]}' is missing"
    return f"'{foreign[0]}' is too much" if foreign else None
