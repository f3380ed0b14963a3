"""Memory of this machine and of this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
"""What Linux tells of this process."""


def physical_memory() -> int | None:
    """Bytes of memory of this machine, None where the system does not tell."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return size if size > 0 else None


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process in MiB, where the system tells."""
    # On Linux, getrusage also counts what the process that started this one held then: for us, that of `compare`.
    own = _peak_in_status()
    if own is not None:
        return own
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
    """Whether an error says that memory, of the machine or of a device, did not suffice."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "allocate" in str(error)
    )
