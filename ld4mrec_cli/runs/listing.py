"""The runs of a directory, for `ld4mrec runs`. Nothing is changed: runs may be in use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ld4mrec_cli.runs.evaluations import Evaluations, read_evaluations
from ld4mrec_cli.runs.manifest import Manifest, read_manifest
from ld4mrec_cli.runs.paths import LATEST
from ld4mrec_cli.runs.run_directory import MANIFEST
from ld4mrec_cli.utils.errors import RunError
from ld4mrec_cli.utils.locks import is_locked
from ld4mrec_cli.utils.workspace import LOCK

DAMAGED = "damaged"


@dataclass(frozen=True)
class ListedRun:
    """One run of a directory."""

    path: Path
    status: str
    """Status of the manifest; ``interrupted`` where nobody trains an unfinished run; damaged."""
    manifest: Manifest | None
    """None for a damaged run."""
    evaluations: Evaluations
    is_latest: bool

    @property
    def started(self) -> datetime | None:
        """When its training started."""
        try:
            return (
                datetime.fromisoformat(self.manifest.started).astimezone()
                if self.manifest
                else None
            )
        except ValueError:
            return None


def list_runs(directory: Path) -> list[ListedRun]:
    """Runs that lie in a directory, or are it, the newest first and damaged ones last.

    Raises:
        RunError: there is no such directory, or no run in it.
    """
    if not directory.is_dir():
        raise RunError("no such directory", where=directory, hint="Train with `ld4mrec train`")
    own = [directory] if (directory / MANIFEST).is_file() else []
    paths = own or [
        path.parent for path in directory.glob(f"*/{MANIFEST}") if path.parent.name != LATEST
    ]
    if not paths:
        raise RunError("holds no run", where=directory, hint="Train with `ld4mrec train`")
    latest = (directory / LATEST).resolve()
    runs = [_list_run(path, path.resolve() == latest) for path in sorted(paths)]
    oldest = datetime.min
    return sorted(
        runs,
        key=lambda run: run.started.replace(tzinfo=None) if run.started else oldest,
        reverse=True,
    )


def _list_run(path: Path, is_latest: bool) -> ListedRun:
    try:
        manifest = read_manifest(path / MANIFEST)
        status: str = manifest.status
    except RunError:
        return ListedRun(path, DAMAGED, None, Evaluations(), is_latest)
    if status == "running" and not is_locked(path / LOCK):
        status = "interrupted"
    try:
        evaluations = read_evaluations(path)
    except RunError:
        evaluations = Evaluations()
    return ListedRun(path, status, manifest, evaluations, is_latest)
