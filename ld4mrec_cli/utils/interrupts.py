"""SIGINT and SIGTERM: one KeyboardInterrupt, raised where it does no harm.

An exception must not leave an import half-way: C++ extensions may abort, and others swallow it. So
an interrupt during the imports of a command ends the process at once, and one during a later import
waits until that import is done. Python drops an exception that leaves a finalizer or a callback of
the garbage collector: an interrupt that was lost there is raised again.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
STARTING = ("ld4mrec_cli.__main__", "ld4mrec_cli.cli", "__main__")
"""Modules whose imports happen before a command has begun its work."""
IMPORT_SYSTEM = ("importlib._bootstrap", "_frozen_importlib")
"""The second name is that until `importlib` itself is imported."""
RETRY_SECONDS = 0.02
REPEAT_SECONDS = 1.0
"""Further signals within this time count as the same one: a shell and torchrun each send theirs."""

_first: float | None = None


def install() -> None:
    """Handle the signals from now on. A signal that is ignored, as under `nohup`, stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _raise)
        sys.unraisablehook = _raise_again


def is_installed() -> bool:
    """Whether this process handles the signals here."""
    return signal.getsignal(signal.SIGINT) is _handle or signal.getsignal(signal.SIGTERM) is _handle


def was_interrupted(error: BaseException) -> bool:
    """Whether an error is an interrupt, or one that a library made of it."""
    return isinstance(error, KeyboardInterrupt) or _first is not None


def ignore() -> None:
    """Ignore the signals from now on, when only the end of the process is left."""
    if is_installed():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, signal.SIG_IGN)  # also of an interrupt that was lost
            signal.setitimer(signal.ITIMER_REAL, 0.0)


def exit_with(code: int) -> NoReturn:
    """End the process with an exit code, when everything is cleaned up.

    Python notes an interrupt that leaves code given as text, such as an annotation that Typer
    reads, as unhandled, also where it is handled further up. Its own end with `python -m` would
    then be SIGINT in place of the exit code.
    """
    ignore()
    if _first is None:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def exit_now() -> NoReturn:
    """Say that the command was interrupted, and end the process without any clean-up."""
    ignore()
    try:
        os.write(2, b"error: interrupted\n")
    finally:
        os._exit(1)


def _handle(signum: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt at the first signal; at a later one, end the process at once."""
    global _first  # noqa: PLW0603 - a process has one set of signal handlers
    now = time.monotonic()
    if _first is None:
        _first = now
        _raise(signum, frame)
    elif now - _first > REPEAT_SECONDS:
        exit_now()


def _raise(signum: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, or deal with an import that is going on (see above)."""
    importer = _importer(frame)
    if importer is None:
        raise KeyboardInterrupt
    if importer.startswith(STARTING):
        exit_now()
    if not hasattr(signal, "setitimer"):
        raise KeyboardInterrupt
    signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)


def _raise_again(unraisable: sys.UnraisableHookArgs, /) -> None:
    """Raise an interrupt a little later that was lost in a finalizer or a callback."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
    else:
        sys.__unraisablehook__(unraisable)


def _importer(frame: FrameType | None) -> str | None:
    """Name of the module of ours whose import is going on, None where there is none."""
    frames = []
    while frame is not None:
        frames.append(str(frame.f_globals.get("__name__", "")))
        frame = frame.f_back
    name = None
    for module in reversed(frames):  # from the outermost call inwards
        if module.startswith(IMPORT_SYSTEM):
            return name or "__main__"
        if module.startswith("ld4mrec_cli") or module == "__main__":
            name = module
    return None
