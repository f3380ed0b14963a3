"""Memory of this machine and of this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
"""Status of this process on Linux."""


def physical_memory() -> int | None:
    """Bytes of memory of this machine, None where it is unknown."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return size if size > 0 else None


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process in MiB, None where it is unknown."""
    # On Linux, getrusage also counts the memory of the parent process at the start: for a training
    # started by `compare`, that of `compare`.
    peak_mb = _peak_in_status()
    if peak_mb is not None:
        return peak_mb
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _peak_in_status() -> float | None:
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(
            round(int(line.split()[1]) / 2**10, 1) for line in lines if line.startswith("VmHWM:")
        )
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the machine or a device is used up."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "allocate" in str(error)
    )
