"""Raw directories made of Python values, and what tests ask of directories and errors."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ld4mrec_cli.utils.errors import UserError


def fill(directory: Path, files: Mapping[str, Any]) -> Path:
    """Write files by name: text, bytes, an array (``.npy``), a table (Parquet), JSON lines."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = directory / name
        if isinstance(content, np.ndarray):
            np.save(path, content)
        elif isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            data = content if isinstance(content, bytes) else as_bytes(content)
            path.write_bytes(
                gzip.compress(data)
                if path.suffix == ".gz" and not isinstance(content, bytes)
                else data
            )
    return directory


def as_bytes(content: str | list[Any]) -> bytes:
    if isinstance(content, list):
        return "".join(json.dumps(record) + "\n" for record in content).encode()
    return content.encode("utf-8")


def snapshot(directory: Path) -> dict[str, str]:
    """Hash of every file below a directory, by name."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def assert_rejected(action: Callable[[], object], *parts: str) -> str:
    """Check that an action raises UserError with one line that holds all the parts."""
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, f"{part!r} is not in {message!r}"
    return message
