"""How the tests start the command as a user's shell would."""

import os
import signal
import subprocess
import sys

TINY = [
    "--set",
    "model.hidden_dim=16",
    "--set",
    "model.collaborative_rank=8",
    "--set",
    "training.max_epochs=6",
]
"""Settings that make a training short."""


def shell(*arguments, cwd, **options):
    """Start the command as a user's shell would."""
    command = [sys.executable, "-m", "ld4mrec_cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_handle_signals_by_default,  # noqa: PLW1509 - tests start it before threads
        **options,
    )


def _handle_signals_by_default():
    """What ignores a signal, such as `nohup`, hands that down, and commands respect it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
