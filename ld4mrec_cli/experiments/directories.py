"""Output directories of searches and comparisons: the lock, and leftovers of a killed start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ld4mrec_cli.utils.errors import OutputError, RunError
from ld4mrec_cli.utils.files import locked_file, remove_temporaries

LOCK = ".lock"


def is_empty(directory: Path, first_file: str) -> bool:
    """Whether a directory holds nothing, or only leftovers of a kill before ``first_file``.

    Leftovers are the lock file and temporary versions of ``first_file``.
    """
    return all(
        path.name == LOCK
        or (path.name.startswith(f".{first_file}.") and path.name.endswith(".tmp"))
        for path in directory.iterdir()
    )


@contextmanager
def lock_directory(directory: Path, content: str) -> Iterator[None]:
    """Lock a directory during the block; it is created if it is missing.

    Args:
        directory: directory that one process may use at a time.
        content: name of its content for the message, such as ``comparison``.

    Raises:
        OutputError: the directory cannot be written.
        RunError: another process has the lock.
    """
    with ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            is_locked = stack.enter_context(locked_file(directory / LOCK))
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror})", where=directory) from None
        if not is_locked:
            raise RunError(f"another process is using this {content}", where=directory)
        remove_temporaries(directory)
        yield
