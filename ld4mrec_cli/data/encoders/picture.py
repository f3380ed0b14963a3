"""Pictures of items: found by item id, decoded to RGB."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ld4mrec_cli.utils.errors import SourceError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_FOLDER = "images"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PILLOW_FORMATS = ("JPEG", "PNG", "WEBP")
MAX_ASPECT_RATIO = 100
"""Longer by shorter side. A model enlarges the shorter side to its size, and so the longer one."""
SHOWN_UNREADABLE = 5
"""Number of unreadable images whose messages are stored."""
PROGRESS_STEP = 32


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


def open_image(path: Path) -> Image:
    """Decode an image to RGB: upright, and on white where it is transparent.

    Raises:
        SourceError: the image is damaged, too large, too thin or of another format.
    """
    from PIL import Image, ImageOps  # an optional package

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata does no harm, excessive sizes do
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=PILLOW_FORMATS) as file:
                _check_shape(*file.size)
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


def _check_shape(width: int, height: int) -> None:
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ValueError(f"{width} by {height} pixels are too thin")


def find_unreadable(
    paths: Sequence[Path], max_errors: int | None, on_progress: Callable[[int, int], None]
) -> tuple[set[Path], tuple[str, ...]]:
    """Decode every image once, before a long encoding, and collect those that cannot be read.

    Args:
        paths: the images.
        max_errors: how many may be unreadable; None makes any an error.
        on_progress: called with the number of checked images and of all.

    Returns:
        The unreadable images, and messages about the first of them.

    Raises:
        SourceError: an image cannot be read and ``max_errors`` is None, or more than that cannot.
    """
    unreadable: set[Path] = set()
    messages: list[str] = []
    for number, path in enumerate(paths, start=1):
        try:
            open_image(path)
        except SourceError as error:
            unreadable.add(path)
            messages.append(str(error))
        if number % PROGRESS_STEP == 0 or number == len(paths):
            on_progress(number, len(paths))
    if messages and max_errors is None:
        n = len(messages)
        count = f"{n:,} images cannot be read, the first of them: " if n > 1 else ""
        raise SourceError(f"{count}{messages[0]}, or leave it out: --on-error skip")
    if max_errors is not None and len(messages) > max_errors:
        what = f"more than {max_errors} images cannot be read, the first of them: {messages[0]}"
        raise SourceError(what, hint="Raise --max-errors, or mend the images")
    return unreadable, tuple(messages[:SHOWN_UNREADABLE])
