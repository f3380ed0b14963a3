"""Check a ``.npz`` before it is read: arrays alone, and no more bytes than it should have."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

MAX_RATIO = 200
"""Times that an archive may expand; features of real items hardly compress."""
SMALL_BYTES = 1 << 26
"""Archives that expand to no more than this may compress as they like."""


def check_npz(path: Path) -> None:
    """Refuse a zip bomb, members that are no arrays, and headers that declare other sizes.

    Raises:
        ValueError: with the reason.
    """
    with path.open("rb") as handle:
        if handle.read(6) == np.lib.format.MAGIC_PREFIX:
            raise ValueError("a single array")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total, size = sum(member.file_size for member in members), path.stat().st_size
        if total > max(SMALL_BYTES, MAX_RATIO * size):
            raise ValueError(f"it expands from {size:,} to {total:,} bytes")
        for member in members:
            _check_member(archive, member)


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    if not member.filename.endswith(".npy"):
        raise ValueError(f"its member '{member.filename}' is no array")
    with archive.open(member) as handle:
        version = np.lib.format.read_magic(handle)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(handle)
        declared = math.prod(shape) * dtype.itemsize
        if not dtype.hasobject and declared != member.file_size - handle.tell():
            raise ValueError(f"the header of '{member.filename}' declares {declared:,} bytes")
