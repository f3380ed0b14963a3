"""Threads on a quiet and on a busy machine: a short training with each setting, with busy neighbors.

    python examples/benchmarks/threads.py --dir /tmp/threads --neighbors 0 2

A neighbor is a process that computes without pause. Each cell is a whole `ld4mrec train` process;
settings take turns, so that a change of the machine's speed meets all of them. The table has the
median time, and its ratio to that of one thread with the same neighbors.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from common import TIKTOK, machine, table
from power_law import dataset

BUSY = "while True: sum(range(10**6))"
SPINNING = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "30000000000"}
"""What OpenMP's threads do where nobody says otherwise: wait for each other in a loop."""
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Threads that wait give their processor away."""
VARIANTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "1 thread": (["--threads", "1"], {}),
    "the default": ([], {}),
    "all threads, passive": (["--threads", str(os.cpu_count())], PASSIVE),
    "all threads, spinning": (["--threads", str(os.cpu_count())], SPINNING),
}


@contextmanager
def busy_neighbors(count: int) -> Iterator[None]:
    """Run ``count`` processes that compute without pause during the block."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def time_training(data: Path, run: Path, epochs: int, variant: str) -> float:
    """Seconds of a whole training process."""
    options, environment = VARIANTS[variant]
    command = [sys.executable, "-m", "ld4mrec_cli", "train", f"--data={data}", f"--run={run}"]
    settings = [f"training.max_epochs={epochs}", "training.validate_every=100"]
    command += [part for setting in settings for part in ("--set", setting)]
    own = {key: value for key, value in os.environ.items() if not key.startswith(("OMP", "KMP"))}
    start = time.perf_counter()
    subprocess.run(
        [*command, "--device", "cpu", *options],
        env=own | environment,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start


def measure(data: Path, scratch: Path, arguments: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Rows of the table."""
    for n_neighbors in arguments.neighbors:
        times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        with busy_neighbors(n_neighbors):
            for repeat in range(arguments.repeats):
                for variant, seconds in times.items():
                    run = scratch / f"{n_neighbors}-{repeat}-{variant.replace(' ', '-')}"
                    seconds.append(time_training(data, run, arguments.epochs, variant))
        medians = {variant: statistics.median(seconds) for variant, seconds in times.items()}
        for variant, seconds in medians.items():
            ratio = seconds / medians["1 thread"]
            yield str(n_neighbors), variant, f"{seconds:.1f}", f"{ratio:.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="scratch directory")
    parser.add_argument("--neighbors", type=int, nargs="+", default=[0, os.cpu_count() or 1])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    data = dataset(arguments.dir / "data", *TIKTOK)
    scratch = arguments.dir / f"runs-{time.time():.0f}"
    print(machine())
    rows = list(measure(data, scratch, arguments))
    print(table(["busy neighbors", "setting", "seconds", "to 1 thread"], rows))


if __name__ == "__main__":
    main()
