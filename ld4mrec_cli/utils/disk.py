"""A full disk, a size limit or a broken device, whichever library meets it first."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ld4mrec_cli.utils.errors import OutputFailed, UserError

CODES = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "ENODEV", "ENXIO")
    if hasattr(errno, name)
)
"""Error numbers of a write that failed."""
CODE_IN_TEXT = re.compile(r"os error (\d+)")
"""Libraries in Rust (polars, safetensors) report an error number as text."""


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Turn an error of writing in the block into one line that names ``path``.

    Raises:
        OutputFailed: the disk is full, a limit is reached, or the device failed.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = write_error(error)
        if reason is None:
            raise
        raise OutputFailed(f"cannot be written ({reason})", where=path) from None


def write_error(error: BaseException) -> str | None:
    """Reason of a failed write, such as "No space left on device"; None for other errors."""
    code = error.errno if isinstance(error, OSError) else None
    if code is None:
        match = CODE_IN_TEXT.search(str(error))
        code = int(match[1]) if match else None
    if code is not None and code in CODES:
        return os.strerror(code)
    texts = (os.strerror(known) for known in CODES)
    return next((text for text in texts if text in str(error)), None)
