"""Atomic writes and content hashes.

A reader never sees half a file, an interrupted command leaves nothing, and a complete write
outlives a power failure.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ld4mrec_cli.utils.disk import report_write_errors
from ld4mrec_cli.utils.durable import sync_directory, sync_file, sync_tree
from ld4mrec_cli.utils.errors import OutputError
from ld4mrec_cli.utils.names import is_file_name
from ld4mrec_cli.utils.workspace import move_away, open_workspace, recover

OTHER_OUT = "Choose another --out"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write to; it takes the place of ``path`` when the block ends well.

    A link of the user's own is followed. A device or pipe is written to, not replaced.

    Raises:
        OutputError: the directory is missing or not writable, ``path`` is a directory, or a link
            that another user made.
    """
    target = resolve_output(path)
    if target.is_dir():
        raise OutputError("is a directory, a file name is needed", where=path)
    is_special = target.exists() and not target.is_file()
    if not is_special:
        recover(target)
    parent = Path(tempfile.gettempdir()) if is_special else target.parent
    with open_workspace(target, parent, where=path) as workspace:
        temporary = workspace / target.name
        temporary.touch()
        with report_write_errors(path):
            yield temporary
            if is_special:
                with temporary.open("rb") as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
                return
            temporary.chmod(0o666 & ~_umask())
            sync_file(temporary)
            os.replace(temporary, target)
            sync_directory(target.parent)


@contextmanager
def atomic_directory(
    path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]
) -> Iterator[Path]:
    """Yield a temporary directory to fill; it becomes ``path`` when the block ends well.

    An existing ``path`` is replaced only with ``overwrite``, and only where ``is_replaceable`` says
    that ld4mrec wrote all of it.

    Raises:
        OutputError: ``path`` exists and may not be replaced, or the parent cannot be written.
    """
    check_output_directory(path, overwrite=overwrite, is_replaceable=is_replaceable)
    target = resolve_output(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=path) from None
    with open_workspace(target, target.parent, where=path) as workspace:
        temporary = workspace / target.name
        temporary.mkdir()
        with report_write_errors(path):
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            sync_tree(temporary)
        # Another process may have written it in the meantime.
        check_output_directory(path, overwrite=overwrite, is_replaceable=is_replaceable)
        _replace_directory(temporary, target, workspace)


def check_output_directory(
    path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]
) -> None:
    """Check that a directory may be written, so that long work can fail before it starts.

    A replacement of ``path`` that was killed half-way is undone first.

    Raises:
        OutputError: it may not.
    """
    target = resolve_output(path)
    if target == Path.cwd():
        raise OutputError("is the working directory", where=path, hint=OTHER_OUT)
    if not is_file_name(target.name):
        raise OutputError("has a name with unusable characters", where=path, hint=OTHER_OUT)
    recover(target)
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir():
        raise OutputError("exists and is not a directory", where=path, hint=OTHER_OUT)
    if not any(path.iterdir()):
        return
    if not overwrite:
        raise OutputError(
            "exists", where=path, hint=f"{OTHER_OUT}, or give --overwrite to replace it"
        )
    if not is_replaceable(path):
        what = "was not written by ld4mrec, so it is not replaced"
        raise OutputError(what, where=path, hint=OTHER_OUT)


def resolve_output(path: Path) -> Path:
    """The absolute path of an output, links followed.

    Raises:
        OutputError: ``path`` is a link that another user made, or one of a circle.
    """
    try:
        link, target = path, path.resolve()
        while link.is_symlink():
            if hasattr(os, "getuid") and link.lstat().st_uid not in (os.getuid(), 0):
                raise OutputError("is a symbolic link of another user", where=link, hint=OTHER_OUT)
            link = link.parent / link.readlink()
    except (OSError, RuntimeError):
        raise OutputError("is a symbolic link that leads nowhere", where=path) from None
    return target


def _replace_directory(source: Path, target: Path, workspace: Path) -> None:
    """Rename ``source`` to ``target``; where that fails, the workspace puts the old one back."""
    try:
        if target.exists():
            move_away(target, workspace)
        os.rename(source, target)
        sync_directory(target.parent)
    except OSError as error:  # such as the working directory or a mount point
        what = f"cannot be replaced ({error.strerror})"
        raise OutputError(what, where=target, hint=OTHER_OUT) from None


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically as UTF-8."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically as indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
