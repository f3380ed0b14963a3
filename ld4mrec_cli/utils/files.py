"""Atomic writes, locks and content hashes: a reader never sees half a file, an interrupted command leaves nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ld4mrec_cli.utils.disk import report_write_errors
from ld4mrec_cli.utils.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write to; it takes the place of ``path`` when the block ends well.

    A link is followed. What is no regular file (a device, a pipe) is written to, not replaced.

    Raises:
        OutputError: the directory is missing or not writable, or ``path`` is a directory.
    """
    target = path.resolve()
    if target.is_dir():
        raise OutputError("is a directory, a file name is needed", where=path)
    special = target.exists() and not target.is_file()
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".tmp", dir=None if special else target.parent
        )
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=path) from None
    os.close(handle)
    temporary = Path(name)
    try:
        with report_write_errors(path):
            yield temporary
        if special:
            with (
                report_write_errors(path),
                temporary.open("rb") as source,
                target.open("wb") as sink,
            ):
                shutil.copyfileobj(source, sink)
        else:
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(
    path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]
) -> Iterator[Path]:
    """Yield a temporary sibling directory to fill; it becomes ``path`` when the block ends well.

    An existing ``path`` is replaced only with ``overwrite``, and only where ``is_replaceable`` knows it as
    something this program wrote.

    Raises:
        OutputError: ``path`` exists and may not be replaced, or the parent cannot be written.
    """
    check_output_directory(path, overwrite=overwrite, is_replaceable=is_replaceable)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=path) from None
    try:
        with report_write_errors(path):
            yield temporary
        temporary.chmod(0o777 & ~_umask())
        _replace_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_output_directory(
    path: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]
) -> None:
    """Raise OutputError unless ``path`` may be written, so that long work can fail before it starts."""
    if path.resolve() == Path.cwd():
        raise OutputError("is the working directory", where=path, hint="Choose another --out")
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir():
        raise OutputError("exists and is not a directory", where=path, hint="Choose another --out")
    if not any(path.iterdir()):
        return
    if not overwrite:
        raise OutputError(
            "exists", where=path, hint="Choose another --out, or give --overwrite to replace it"
        )
    if not is_replaceable(path):
        raise OutputError(
            "was not written by ld4mrec, so it is not replaced",
            where=path,
            hint="Choose another --out",
        )


def _replace_directory(source: Path, target: Path) -> None:
    if not target.exists():
        os.rename(source, target)
        return
    held = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    try:
        os.rename(target, held / "old")
        try:
            os.rename(source, target)
        except BaseException:  # an interruption too must not cost the old one
            os.rename(held / "old", target)
            raise
    except OSError as error:  # such as the working directory or a mount point
        raise OutputError(
            f"cannot be replaced ({error.strerror})", where=target, hint="Choose another --out"
        ) from None
    finally:
        if target.exists():
            shutil.rmtree(held, ignore_errors=True)


def remove_temporaries(directory: Path) -> None:
    """Remove what :func:`atomic_file` left in a directory when the program was killed."""
    for path in directory.glob(".*.tmp"):
        path.unlink(missing_ok=True)


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


@contextmanager
def locked_file(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` during the block; False where another process has it. A kill lets go of it."""
    with path.open("w") as handle:
        ours = _lock(handle)
        try:
            yield ours
        finally:
            if ours:
                path.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file ``path`` now."""
    try:
        with path.open() as handle:
            return not _lock(handle)
    except OSError:
        return False


def _lock(handle: IO[str]) -> bool:
    """Take the lock of an open file, where the system has such locks; False where another process has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
