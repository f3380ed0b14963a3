"""Where runs lie: ``runs/<name>-<time>/``, and ``runs/latest`` that points at the last one."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.utils.errors import RunError

RUNS = Path("runs")
LATEST = "latest"


def new_run_path(name: str) -> Path:
    """A path ``runs/<name>-<time>`` that does not exist yet."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path, n = RUNS / f"{name}-{stamp}", 1
    while path.exists():
        n += 1
        path = RUNS / f"{name}-{stamp}-{n}"
    return path


def latest_run() -> Path:
    """The run that ``runs/latest`` points at. Raises RunError where there is none."""
    path = RUNS / LATEST
    if path.is_file():  # where the file system has no links
        path = RUNS / path.read_text(encoding="utf-8").strip()
    if not path.exists():
        hint = "Train a model with `ld4mrec train`, or name a run with --run"
        raise RunError("there is no last run", where=RUNS / LATEST, hint=hint)
    return path


def point_latest(path: Path) -> None:
    """Point ``runs/latest`` at a run in ``runs/``; runs elsewhere are left alone."""
    if path.resolve().parent != RUNS.resolve():
        return
    temporary = RUNS / f".{LATEST}.{os.getpid()}"
    try:
        temporary.symlink_to(path.name, target_is_directory=True)
    except OSError:
        temporary.write_text(path.name, encoding="utf-8")
    os.replace(temporary, RUNS / LATEST)


def unfinished_run(name: str | None) -> Path:
    """The newest run in ``runs/`` that can be resumed. Raises RunError where there is none."""
    found = []
    for manifest in RUNS.glob("*/manifest.json"):
        if manifest.parent.name == LATEST:
            continue
        run = RunDirectory.open(manifest.parent)
        if run.is_unfinished and name in (None, run.manifest.name) and not run.is_locked():
            found.append((run.manifest.started, run.path))
    if not found:
        raise RunError("no unfinished run" + (f" named '{name}'" if name else ""), where=RUNS)
    return max(found)[1]
