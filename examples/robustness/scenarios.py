"""The commands that kills.py and events.py interrupt, on a small dataset, and their results.

A scenario is a command in a fresh directory. :meth:`Scenario.restart` is what a user does after an
interruption, and :meth:`Scenario.result` is everything about the output that must not depend on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic
from ld4mrec_cli.runs.evaluations import EVALUATION  # written by the next start, `evaluate`
from ld4mrec_cli.runs.manifest import read_manifest
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import UserError

SIZE = SyntheticSize(
    users=200, items=120, interactions_per_user=10, image_dim=8, clusters_per_user=1
)
FAST = [
    f"--set={setting}"
    for setting in (
        "training.max_epochs=4",
        "training.batch_size=64",
        "training.device=cpu",
        "model.hidden_dim=16",
        "model.collaborative_rank=8",
        "model.modality_dim=8",
        "model.time_dim=8",
    )
]
TIMES = ("seconds", "memory", "per_second", "started", "created", "path", "versions")
"""Parts of names of values that differ from run to run."""
BUG_SIGNS = ("Traceback", "bug in ld4mrec")
PROGRESS_SECONDS = 30.0


@dataclass(frozen=True)
class Scenario:
    """A command that is interrupted. It runs in a directory of its own and writes ``out``."""

    name: str
    command: Sequence[str]
    result: Callable[[Path], Any]
    """Result from the working directory; raises where the output is damaged."""
    restart: Callable[[Path], Sequence[str]]
    """Command after an interruption."""
    initial: Path | None = None
    """A directory that is copied to ``out`` before."""

    def set_up(self, work: Path) -> None:
        """Make the working directory as it is before the command."""
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        if self.initial is not None:
            shutil.copytree(self.initial, work / "out")


@dataclass
class Counts:
    """The summary line of a scenario."""

    tries: int = 0
    corrupt: int = 0
    """The next start failed, or a complete output could not be read."""
    silent: int = 0
    """The next start ended well with another result."""
    tracebacks: int = 0
    leftovers: int = 0
    """Hidden temporary files or directories stayed after the next start."""
    examples: list[str] = field(default_factory=list)
    shown: float = field(default_factory=time.monotonic)
    """Time of the last line of progress."""

    def add(self, kind: str, text: str) -> None:
        """Count an event of a kind and keep the first few texts."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < 5:
            self.examples.append(f"{kind}: {text}")

    def show_progress(self, name: str, label: str) -> None:
        """Print the counts now and then."""
        if time.monotonic() - self.shown > PROGRESS_SECONDS:
            self.shown = time.monotonic()
            print(f"  {label}: {self.line(name)}", flush=True)

    def line(self, name: str) -> str:
        """The counts in one line."""
        return (
            f"{name}: tries {self.tries}, corrupt {self.corrupt}, silent {self.silent}, "
            f"tracebacks {self.tracebacks}, leftovers {self.leftovers}"
        )


def start(
    arguments: Sequence[str], work: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start ld4mrec in ``work``, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ld4mrec_cli", *arguments],
        cwd=work,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_tree(pid: int) -> None:
    """Kill a leader of a process group, its group, and the groups of its children.

    The children are known before, as a process that is gone has none (Linux).
    """
    children = ""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for child in children.split():
        kill_tree(int(child))


def run(arguments: Sequence[str], work: Path) -> tuple[int, str]:
    """Exit code and output of a command."""
    process = start(arguments, work)
    output = process.communicate()[0]
    return process.returncode, output


def check_restart(
    scenario: Scenario,
    work: Path,
    expected: Any,
    counts: Counts,
    label: str,
    run: Callable[[Sequence[str], Path], tuple[int, str]] = run,
) -> None:
    """Start the command again after an interruption and count what is wrong."""
    counts.tries += 1
    try:
        command = scenario.restart(work)
    except (UserError, ValueError, OSError) as error:
        counts.add("corrupt", f"{label}: {error}")
        return
    code, output = run(command, work)
    if any(sign in output for sign in BUG_SIGNS):
        counts.add("tracebacks", f"{label}: {output[-600:]}")
    if code != 0:
        counts.add("corrupt", f"{label}: exit {code}: {output[-600:]}")
        return
    try:
        result = scenario.result(work)
        if result != expected:
            parts = [str(n) for n, part in enumerate(expected) if part != result[n]]
            counts.add("silent", f"{label}: another result, in part {', '.join(parts)}: {result}")
    except (UserError, ValueError, OSError) as error:
        counts.add("corrupt", f"{label}: {error}")
        return
    if leftovers := sorted(str(path) for path in work.rglob(".*") if path.name != ".lock"):
        counts.add("leftovers", f"{label}: {', '.join(leftovers)}")


def run_campaign(only: str | None, interrupt: Callable[[Scenario, Path, Counts], None]) -> NoReturn:
    """Interrupt each scenario, or ``only`` one, and exit with 1 if anything is wrong.

    Stopped by SIGINT or SIGTERM, it prints the counts so far and exits with 1.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    is_clean = True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        root = Path(directory)
        for scenario in make_scenarios(root):
            if only in (None, scenario.name):
                counts, state = Counts(), ""
                try:
                    interrupt(scenario, root / "work", counts)
                except KeyboardInterrupt:
                    state = " (stopped)"
                print(counts.line(scenario.name) + state, *counts.examples, sep="\n  ", flush=True)
                is_clean &= not counts.examples and not state
                if state:
                    break
    sys.exit(0 if is_clean else 1)


def make_scenarios(root: Path) -> list[Scenario]:
    """The scenarios, with their data under ``root``."""
    raw, data = root / "raw", root / "data"
    raw.mkdir(parents=True)
    write_synthetic(raw, seed=0, size=SIZE)
    prepare(raw, data, PrepareConfig(text_dim=8))
    prepare(raw, root / "earlier", PrepareConfig(text_dim=8, seed=1))
    prepare_command = ["prepare", f"--raw={raw}", "--out=out", "--set=prepare.text_dim=8"]
    overwrite = [*prepare_command, "--overwrite"]
    train = ["train", f"--data={data}", "--run=out", *FAST]
    tune = ["tune", f"--data={data}", "--out=out", "--trials=3", "--model=bpr"]
    tune += ["--set=training.max_epochs=2", "--set=training.device=cpu"]
    compare = ["compare", f"--data={data}", "--out=out", "--seeds=0", "--model=ease"]
    compare += ["--model=popularity", "--device=cpu"]
    return [
        Scenario("prepare", prepare_command, _dataset, lambda work: overwrite),
        Scenario(
            "prepare --overwrite",
            overwrite,
            _dataset,
            _restart_overwrite(overwrite),
            root / "earlier",
        ),
        Scenario("train", train, _run, _restart_train(train)),
        Scenario("tune", tune, _search, lambda work: tune),
        Scenario("compare", compare, _comparison, lambda work: compare),
    ]


def _restart_overwrite(command: Sequence[str]) -> Callable[[Path], Sequence[str]]:
    def restart(work: Path) -> Sequence[str]:
        _dataset(work)  # the old or the new one is there, at every moment
        return command

    return restart


def _restart_train(command: Sequence[str]) -> Callable[[Path], Sequence[str]]:
    def restart(work: Path) -> Sequence[str]:
        manifest = work / "out" / "manifest.json"
        if not manifest.exists():
            return command
        if read_manifest(manifest).status == "complete":
            return ["evaluate", "--run=out", "--device=cpu"]
        return ["train", "--resume", "--run=out"]

    return restart


def _dataset(work: Path) -> Any:
    dataset = Dataset.open(work / "out")
    for name in dataset.schema.files:
        dataset.path(name)
    return dataset.hash


def _run(work: Path) -> Any:
    manifest = read_manifest(work / "out" / "manifest.json")
    files = {name: _hash(work / "out" / name) for name in manifest.files}
    if files != manifest.files:
        raise ValueError("a file of the run differs from its hash")
    lines = (work / "out" / "metrics.jsonl").read_text().splitlines()
    names = sorted(path.name for path in (work / "out").iterdir() if path.name != EVALUATION)
    best = manifest.best and manifest.best.model_dump()
    return manifest.status, files, best, names, [_without_times(json.loads(line)) for line in lines]


def _search(work: Path) -> Any:
    out = work / "out"
    lines = (out / "trials.jsonl").read_text().splitlines()
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    trials = [_without_times(json.loads(line)) for line in lines]
    return trials, (out / "best.yaml").read_text(), names


def _comparison(work: Path) -> Any:
    out = work / "out"
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    return _without_times(json.loads((out / "comparison.json").read_text())), names


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_times(item)
            for key, item in value.items()
            if not any(part in key for part in TIMES)
        }
    return [_without_times(item) for item in value] if isinstance(value, list) else value
