"""Pictures of items, from the folder ``images/`` of the raw files."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from ld4mrec_cli.data.dataset import Ids
from ld4mrec_cli.data.encoders.picture import IMAGE_FOLDER, list_images, map_items_to_images
from ld4mrec_cli.utils.errors import UserError

SIGNATURES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"RIFF": "image/webp",
}
"""First bytes of a file, and its media type."""


class Pictures:
    """Files by item; a request names an item, never a path."""

    def __init__(self, folder: Path | None, items: Ids) -> None:
        """List the pictures of a raw directory, or of its folder ``images/``.

        Raises:
            UserError: there is no such folder, it has no picture of an item, or two of one.
        """
        self._root: Path | None = None
        self._files: dict[str, Path] = {}
        if folder is None:
            return
        raw = folder if (folder / IMAGE_FOLDER).is_dir() else folder.parent
        if not folder.is_dir() or (raw != folder and folder.name != IMAGE_FOLDER):
            hint = f"Name the directory that has a folder {IMAGE_FOLDER}/"
            raise UserError("has no pictures", where=folder, hint=hint)
        self._root = (raw / IMAGE_FOLDER).resolve()
        found = map_items_to_images(list_images(raw))
        self._files = {item: path for item, path in found.items() if item in items}
        if not self._files:
            hint = "A picture is named after its item, such as images/ITEM.jpg"
            raise UserError("has no picture of an item of the run", where=folder, hint=hint)

    def __len__(self) -> int:
        return len(self._files)

    def address(self, item: str) -> str | None:
        """Address of the picture of an item, relative to that of the server; None: it has none."""
        return f"images/{quote(item, safe='')}" if item in self._files else None

    def find(self, item: str) -> tuple[Path, str] | None:
        """File and media type of a picture.

        None where there is none, a link leads out of the folder, or the file is no picture.
        """
        path = self._files.get(item)
        if path is None or self._root is None:
            return None
        try:
            resolved = path.resolve(strict=True)
            if not resolved.is_relative_to(self._root):
                return None
            with resolved.open("rb") as file:
                start = file.read(12)
        except OSError:
            return None
        media_type = next((kind for mark, kind in SIGNATURES.items() if start.startswith(mark)), "")
        is_picture = media_type and (media_type != "image/webp" or start[8:] == b"WEBP")
        return (resolved, media_type) if is_picture else None
