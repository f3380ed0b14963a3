"""Where runs lie: ``runs/<name>-<time>/``, and ``runs/latest`` that points at the last one."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from ld4mrec_cli.runs.run_directory import MANIFEST, RunDirectory
from ld4mrec_cli.utils.errors import OutputError, RunError
from ld4mrec_cli.utils.names import is_file_name
from ld4mrec_cli.utils.workspace import open_workspace, recover

RUNS = Path("runs")
LATEST = "latest"


def new_run_path(name: str) -> Path:
    """A path ``runs/<name>-<time>`` that does not exist yet.

    Raises:
        RunError: ``name`` is not one part of a path, and would lead out of ``runs/``.
    """
    if not is_file_name(name):
        raise RunError(
            f"'{name}' cannot be part of a path", where=RUNS, hint="Choose another --run"
        )
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


def point_latest(run: RunDirectory) -> None:
    """Point ``runs/latest`` at a writable run in ``runs/``; runs elsewhere are left alone.

    Raises:
        OutputError: ``runs/latest`` cannot be replaced.
    """
    if not run.is_writable or run.path.resolve().parent != RUNS.resolve():
        return
    latest = RUNS.resolve() / LATEST
    recover(latest)
    with open_workspace(latest, latest.parent, where=RUNS / LATEST) as workspace:
        temporary = workspace / LATEST
        try:
            temporary.symlink_to(run.path.name, target_is_directory=True)
        except OSError:
            temporary.write_text(run.path.name, encoding="utf-8")
        try:
            os.replace(temporary, latest)
        except OSError as error:
            what = f"cannot be replaced ({error.strerror})"
            raise OutputError(what, where=RUNS / LATEST, hint="Remove it") from None


def unfinished_run(name: str | None) -> Path:
    """The newest run in ``runs/`` that can be resumed.

    Args:
        name: only runs of this name; None: of any.

    Raises:
        RunError: there is none.
    """
    candidates = []
    for manifest in RUNS.glob(f"*/{MANIFEST}"):
        if manifest.parent.name == LATEST:
            continue
        try:
            run = RunDirectory.open(manifest.parent)
        except RunError:  # a damaged run cannot be resumed
            continue
        if run.is_unfinished and name in (None, run.manifest.name) and not run.is_locked():
            candidates.append((run.manifest.started, run.path))
    if not candidates:
        raise RunError("no unfinished run" + (f" named '{name}'" if name else ""), where=RUNS)
    return max(candidates)[1]
