"""Cost of flushing files to the disk, for `prepare` and the checkpoint of a training.

    python examples/benchmarks/fsync_cost.py --raw RAW_DIRECTORY --repeats 5

Prints medians in seconds, alternating both in one process, and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.runs.checkpoint import write_checkpoint
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.files import write_json

PARAMETERS = (1_000, 50_000, 1_000_000, 10_000_000)
"""Sizes of checkpoints, in float32 numbers."""
FSYNC = os.fsync


def seconds(action: Callable[[], object]) -> float:
    """Duration of a call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(name: str, action: Callable[[], object], repeats: int) -> None:
    """Print the median duration of ``action`` with and without fsync."""
    action()
    durations: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(repeats):
        for is_durable in (True, False):
            os.fsync = FSYNC if is_durable else lambda handle: None
            durations[is_durable].append(seconds(action))
    os.fsync = FSYNC
    durable, plain = (statistics.median(durations[flag]) for flag in (True, False))
    print(f"{name}: {durable:.4f} s, without fsync {plain:.4f} s, ratio {durable / plain:.2f}")


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, help="raw directory for `prepare`")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as directory:
        root = Path(directory)
        if options.raw:
            compare(
                f"prepare of {options.raw.name}",
                lambda: prepare(options.raw, root / "data", PrepareConfig(), overwrite=True),
                options.repeats,
            )
        write = write_json
        compare(
            "a manifest", lambda: write(root / "x.json", {"a": [1] * 500}), options.repeats * 10
        )
        for size in PARAMETERS:
            tensors = {"weights": torch.zeros(size)}
            path = root / "checkpoint.safetensors"
            compare(
                f"a checkpoint of {size:,} numbers",
                lambda tensors=tensors, path=path: write_checkpoint(path, tensors, {}),  # type: ignore[misc]
                options.repeats * 2,
            )


if __name__ == "__main__":
    main()
