"""Training in a process of its own: it has its own peak memory, and a crash harms no other."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

Reporter = Callable[[str], None]
"""Receives a line for the user."""

ERROR = "error: "
"""Start of the line that a failed command ends with."""


class TrainingFailed(Exception):
    """A training failed; the message is its last line."""


def train_in_subprocess(arguments: Sequence[str], log: Reporter) -> None:
    """Run `ld4mrec train` with ``arguments`` and wait for it. Its output goes to ``log``.

    Raises:
        TrainingFailed: the exit code is not 0.
        KeyboardInterrupt: this process was interrupted; the training was stopped and can be
            resumed.
    """
    command = [sys.executable, "-m", "ld4mrec_cli", "train", *arguments]
    message = ""
    # A session of its own: Ctrl-C reaches this process alone, which passes it on once and waits.
    with subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                log(line.rstrip())
                if line.startswith(ERROR):
                    message = line.removeprefix(ERROR).strip()
            code = process.wait()
        except BaseException:
            _stop(process)
            raise
    if code:
        raise TrainingFailed(message or _describe_exit(code))


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask a training to stop and wait for it; another interruption kills it."""
    process.terminate()
    try:
        process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise


def _describe_exit(code: int) -> str:
    """Meaning of an exit code without an error line."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed ({name})" + (", perhaps out of memory" if name == "SIGKILL" else "")
