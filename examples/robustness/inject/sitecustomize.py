"""Interrupt this process at its n-th file-system event; events.py puts it on PYTHONPATH.

An event is an open for writing, a rename, remove, mkdir, rmdir, link or fsync of a path under
``LD4MREC_EVENTS_ROOT``. It is counted before it happens.
"""

import atexit
import os
import signal
import sys

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
AUDITED = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate")

root = os.environ.pop("LD4MREC_EVENTS_ROOT", None)
stop_at = int(os.environ.pop("LD4MREC_EVENTS_STOP_AT", "0"))
kind = os.environ.pop("LD4MREC_EVENTS_KIND", "kill")
report = os.environ.pop("LD4MREC_EVENTS_REPORT", None)
count = 0


def count_event(path: object) -> None:
    global count  # noqa: PLW0603 - a process has one counter
    if isinstance(path, int) or path is None:
        text = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else ""
    else:
        text = os.path.abspath(os.fsdecode(path))
    if not text.startswith(root):
        return
    count += 1
    if count == stop_at:
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGINT)


def audit(event: str, args: tuple) -> None:
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
        path, mode, flags = args
        if (mode and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & WRITE_FLAGS):
            count_event(path)
    elif event in AUDITED:
        count_event(args[0])


def write_report() -> None:
    global root  # noqa: PLW0603
    root = "\0"  # no path starts with it
    with open(report, "w") as file:
        file.write(str(count))


if root:
    original_fsync = os.fsync

    def fsync(handle: int) -> None:
        count_event(handle)
        original_fsync(handle)

    os.fsync = fsync
    sys.addaudithook(audit)
    if report:
        atexit.register(write_report)
