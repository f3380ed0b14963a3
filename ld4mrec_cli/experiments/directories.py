"""Output directories of searches, comparisons and studies: their lock, and who made them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ld4mrec_cli.utils.errors import OutputError, RunError
from ld4mrec_cli.utils.locks import locked_file
from ld4mrec_cli.utils.workspace import LOCK, is_blank, remove_temporaries


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


def has_result(directory: Path, name: str, format: str) -> bool:
    """Whether a directory has the result ``name`` of this ``format``, or nothing yet.

    It has nothing where the command that makes it was killed at once.
    """
    try:
        if is_blank(directory):
            return True
        return json.loads((directory / name).read_text(encoding="utf-8")).get("format") == format
    except (OSError, ValueError, AttributeError):
        return False
