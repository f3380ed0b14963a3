"""Names of datasets and runs, which become parts of paths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from ld4mrec_cli.utils.text import is_safe


def is_file_name(name: str) -> bool:
    """Whether ``name`` is one part of a path: no separator, not ``.`` or ``..``, printable."""
    is_single = name not in ("", ".", "..") and "\\" not in name and Path(name).name == name
    return is_single and all(is_safe(character) for character in name)


def _check_file_name(name: str) -> str:
    if not is_file_name(name):
        raise ValueError(
            "is not a name: it has a path separator or a character that cannot be shown"
        )
    return name


FileName = Annotated[str, AfterValidator(_check_file_name)]
"""A name that stays inside the directory that it is put into."""
