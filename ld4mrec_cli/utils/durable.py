"""Flush files and directories to the disk, so that they outlive a power failure."""

from __future__ import annotations

import errno
import os
from pathlib import Path

UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
"""Errors of file systems that cannot flush a directory."""


def sync_file(path: Path) -> None:
    """Flush the content of a file to the disk. Raises OSError with the path."""
    with path.open("rb+") as handle:  # Windows flushes only files that are open for writing
        try:
            os.fsync(handle.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None


def sync_directory(path: Path) -> None:
    """Flush the entries of a directory to the disk, where the system can. Raises OSError."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open a directory; a directory may also be unreadable
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(handle)


def sync_tree(directory: Path) -> None:
    """Flush all files and directories under ``directory``, and itself. Raises OSError."""
    for parent, _, files in os.walk(directory, topdown=False):
        for name in files:
            sync_file(Path(parent, name))
        sync_directory(Path(parent))
