"""Trainings in processes of their own, so that the peak memory of each is its own and one that dies harms no other."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

Reporter = Callable[[str], None]
"""Takes a line for the user."""

ERROR = "error: "
"""What the command's last words begin with when it fails."""


class TrainingFailed(Exception):
    """A training was refused or failed; the message is the line that it ended with."""


def train_in_subprocess(arguments: Sequence[str], log: Reporter) -> None:
    """Run `ld4mrec train` with these arguments and wait for it; every line that it prints goes to ``log``.

    Raises:
        TrainingFailed: it ended with another exit code than 0.
        KeyboardInterrupt: this process was interrupted; the training was ended too, and can be resumed.
    """
    command = [sys.executable, "-m", "ld4mrec_cli", "train", *arguments]
    fault = ""
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
                    fault = line.removeprefix(ERROR).strip()
            code = process.wait()
        except BaseException:
            _end(process)
            raise
    if code:
        raise TrainingFailed(fault or _ending(code))


def _end(process: subprocess.Popen[str]) -> None:
    """Ask a training to stop and wait for it; another interruption kills it."""
    process.terminate()
    try:
        process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise


def _ending(code: int) -> str:
    """What an exit code without a word means."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed ({name})" + (", perhaps for want of memory" if name == "SIGKILL" else "")
