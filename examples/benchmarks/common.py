"""Shared by the benchmarks: datasets, timing, and the description of the machine."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from power_law import dataset

from ld4mrec_cli.config import Config, load_config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals

TIKTOK = (9_308, 6_710, 68_722)
"""Users, items and interactions of the TikTok dataset."""
ELECTRONICS = (192_403, 63_001, 1_689_188)
"""Of Amazon Electronics, 5-core."""


def machine() -> str:
    """Processor, cores in use, memory and versions, in a line."""
    name = platform.processor() or platform.machine()
    for line in (
        Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ()
    ):
        if line.startswith("model name"):
            name = line.split(":")[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    )
    hardware = f"{name}, {torch.get_num_threads()} threads, {memory:.0f} GiB, {gpu}"
    return f"{hardware}; {versions}; commit {commit()}"


def commit() -> str:
    """The commit that is measured, with a plus where files differ from it."""
    here = Path(__file__).parent
    head = ["git", "-C", str(here), "describe", "--always", "--dirty=+"]
    result = subprocess.run(head, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def median_seconds(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of each of ``works`` over ``repeats``, after a warm-up.

    The works take turns: on a shared machine a busy moment slows down all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def opened(data: Path | None, size: tuple[int, int, int], scratch: Path) -> Dataset:
    """The dataset directory ``data``, or a generated one of ``size`` in ``scratch``."""
    if data is None:
        data = dataset(scratch / "-".join(map(str, size)), *size)
    return Dataset.open(data)


def configured(file: Path | None, settings: Sequence[str]) -> Config:
    """A configuration as `ld4mrec train` would take it."""
    return load_config(file, settings, {})


def signals_of(data: Dataset, config: Config) -> ItemSignals:
    """Item signals, as a training computes them first."""
    features = {
        name: data.modality(name).values for name in data.modality_names(config.data.modalities)
    }
    return ItemSignals.compute(config.model, data.matrix("train"), features, config.training.seed)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run_command(*arguments: object) -> tuple[float, float]:
    """Run a command of ld4mrec in a process of its own: seconds, and its peak memory in GB."""
    start = time.perf_counter()
    usage = _run(arguments)
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * unit / 1e9


def run_for_cpu_seconds(*arguments: object) -> float:
    """Run a command of ld4mrec in a process of its own: seconds of the processor.

    Other work on the machine changes them less than the time by the clock.
    """
    usage = _run(arguments)
    return usage.ru_utime + usage.ru_stime


def _run(arguments: Sequence[object]) -> resource.struct_rusage:
    command = [sys.executable, "-m", "ld4mrec_cli", *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage
