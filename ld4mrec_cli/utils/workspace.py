"""Hidden directories in which an output is written before it takes its place.

::

    .NAME.RANDOM.tmp/          beside NAME
        .lock                  held by the process that writes
        NAME                   the new file or directory
        old/NAME               the directory that is replaced, between two renames

A kill leaves the workspace behind, but no lock; so does an interrupt while it is removed. The next
command that writes or opens NAME then moves ``old/NAME`` back where NAME is missing, and removes
the workspace.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ld4mrec_cli.utils.errors import OutputError
from ld4mrec_cli.utils.locks import locked_file

LOCK = ".lock"
OLD = "old"
NAME = re.compile(r"\.(?P<target>.+)\.[a-z0-9_]+\.tmp", re.DOTALL)
ATTEMPTS = 3


@contextmanager
def open_workspace(target: Path, parent: Path, where: Path) -> Iterator[Path]:
    """Yield a new, locked workspace for ``target``; it is removed after the block.

    A directory that :func:`move_away` moved is back at ``target`` if nothing else is there.

    Args:
        target: the output, absolute.
        parent: directory in which the workspace lies.
        where: name of the output in messages.

    Raises:
        OutputError: the parent is missing or not writable.
    """
    with ExitStack() as stack:
        for _ in range(ATTEMPTS):
            workspace = _make(target, parent, where)
            stack.callback(_remove_or_mark, workspace)
            if stack.enter_context(locked_file(workspace / LOCK)) and workspace.is_dir():
                stack.callback(_clear, workspace, target)
                break
            # another process removed it before it was locked
        else:
            raise OutputError("cannot be locked", where=where)
        yield workspace


def _make(target: Path, parent: Path, where: Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=parent))
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=where) from None


def move_away(target: Path, workspace: Path) -> None:
    """Move the directory ``target`` into the workspace, to make room for the new one."""
    (workspace / OLD).mkdir()
    os.rename(target, workspace / OLD / target.name)


def recover(target: Path) -> None:
    """Undo writes of ``target`` that were killed: restore the old directory, remove workspaces.

    Workspaces of other users or of living processes are left alone.
    """
    with suppress(OSError):
        for entry in list(os.scandir(target.parent)):
            match = NAME.fullmatch(entry.name)
            if match and match["target"] == target.name:
                _remove_dead(Path(entry.path), target)


def is_blank(directory: Path) -> bool:
    """Whether a directory holds nothing but a lock file and leftovers of killed writes."""
    return all(path.name == LOCK or _is_workspace(path) for path in directory.iterdir())


def remove_temporaries(directory: Path) -> None:
    """Remove what a killed process left in a directory of ours: workspaces, its lock file."""
    lock = directory / LOCK
    if lock.is_file() and not lock.is_symlink():
        with suppress(OutputError), locked_file(lock, timeout=0.0):
            pass  # a lock that is released is removed
    for path in directory.glob(".*.tmp"):
        if match := NAME.fullmatch(path.name):
            _remove_dead(path, directory / match["target"])


def _is_workspace(path: Path) -> bool:
    is_directory = path.is_dir() and not path.is_symlink()
    return is_directory and NAME.fullmatch(path.name) is not None


def _remove_dead(workspace: Path, target: Path) -> None:
    if not _is_workspace(workspace) or not _is_own(workspace.lstat().st_uid):
        return
    if not (workspace / LOCK).exists():
        _remove_empty(workspace)
        return
    try:
        with suppress(OutputError), locked_file(workspace / LOCK, timeout=0.0) as is_held:
            if is_held:
                _clear(workspace, target)
    finally:
        _remove_or_mark(workspace)


def _is_own(owner: int) -> bool:
    return not hasattr(os, "getuid") or owner == os.getuid()


def _clear(workspace: Path, target: Path) -> None:
    """Move the old directory back where its place is empty, then remove all but the lock file.

    The lock is held until the workspace is empty, so that a kill leaves one that is known as dead.
    """
    old = workspace / OLD / target.name
    if os.path.lexists(old) and not os.path.lexists(target):
        os.rename(old, target)
    for path in workspace.iterdir() if workspace.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)


def _remove_or_mark(workspace: Path) -> None:
    """Remove an empty workspace, and mark one that an interrupt left as dead.

    Its lock file was removed when the lock was released, and without one it would be nobody's.
    """
    _remove_empty(workspace)
    with suppress(OSError):
        (workspace / LOCK).touch()


def _remove_empty(workspace: Path) -> None:
    """Remove the workspace unless it holds files: of another process that has just locked it."""
    with suppress(OSError):
        workspace.rmdir()
