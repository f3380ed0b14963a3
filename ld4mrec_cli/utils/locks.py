"""Locks between processes (library filelock). The lock of a killed process is free again."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout, UnixFileLock

from ld4mrec_cli.utils.errors import OutputError

TIMEOUT_SECONDS = 0.1
"""Long enough to take over the lock file of a process that ends just now."""


@contextmanager
def locked_file(path: Path, timeout: float = TIMEOUT_SECONDS) -> Iterator[bool]:
    """Hold the lock file ``path`` during the block; yield False where another process holds it.

    A symbolic link at ``path`` is not followed.

    Args:
        path: the lock file; it is created and removed.
        timeout: seconds to wait for the lock.

    Raises:
        OutputError: the lock file cannot be written, or is a symbolic link.
    """
    lock = FileLock(path)
    is_held = _acquire(lock, path, timeout)
    try:
        yield is_held
    finally:
        if is_held:
            _release(lock, path)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock file ``path`` now."""
    if not path.is_file() or path.is_symlink():
        return False
    try:
        with locked_file(path, timeout=0.0) as is_held:
            return not is_held
    except OutputError:
        return False


def _acquire(lock: BaseFileLock, path: Path, timeout: float) -> bool:
    try:
        with warnings.catch_warnings():
            # Without locks in the file system, filelock marks the owner in the file and says so.
            warnings.filterwarnings("ignore", message="flock not supported")
            lock.acquire(timeout=timeout, poll_interval=TIMEOUT_SECONDS / 4)
    except Timeout:
        return False
    except OSError as error:
        is_link = error.errno == errno.ELOOP or path.is_symlink()
        reason = "is a symbolic link" if is_link else f"cannot be written ({error.strerror})"
        raise OutputError(reason, where=path, hint="Remove it" if is_link else None) from None
    return True


def _release(lock: BaseFileLock, path: Path) -> None:
    """Release a lock and remove its file.

    POSIX: the file goes while the lock is held, so that it is never that of the next owner. Windows
    cannot remove an open file; there filelock does so when it closes it.
    """
    if isinstance(lock, UnixFileLock):
        with suppress(OSError):
            path.unlink(missing_ok=True)
    lock.release()
