"""The page, the description of the API, and their files. They name no other host."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)
MEDIA_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
STYLES_AND_SCRIPTS = (
    "page.css",
    "page.js",
    "api.js",
    "cards.js",
    "combobox.js",
    "docs.css",
    "docs.js",
    "icon.svg",
)
FILES = {
    "/": "page.html",
    "/docs": "docs.html",
    **{f"/{name}": name for name in STYLES_AND_SCRIPTS},
}
"""File by path."""


@cache
def _read(name: str) -> bytes:
    return (files("ld4mrec_cli.server") / "static" / name).read_bytes()


def _add(path: str, name: str) -> None:
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]

    @router.get(path)
    async def show() -> Response:
        return Response(_read(name), media_type=media_type, headers={"Cache-Control": "no-cache"})


for _path, _name in FILES.items():
    _add(_path, _name)
