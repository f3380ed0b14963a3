"""How the tests start the command as a user's shell would."""

import os
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
        **options,
    )
