"""The run that is to be served, and its change to a newer one while requests are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ld4mrec_cli.runs.manifest import read_manifest
from ld4mrec_cli.runs.paths import latest_run
from ld4mrec_cli.runs.run_directory import MANIFEST
from ld4mrec_cli.server.served_run import ServedRun
from ld4mrec_cli.utils.errors import RunError, UserError

Stamp = tuple[str, int, int, int]
"""Directory of a run, and inode, size and time of its manifest."""
RETRY_POLLS = 15
"""Polls after which a run is tried again that could not be loaded: its files may be on the way."""
Load = Callable[[Path], ServedRun]


class Reporter(Protocol):
    """Gets what happens to the run."""

    def __call__(self, text: str) -> None:
        """Take a line."""


class RunSource:
    """The served run, :attr:`current`, and where newer ones appear.

    A request takes :attr:`current` once and keeps it to its end, so a newer run disturbs none.
    """

    def __init__(self, path: Path | None, load: Load, log: Reporter) -> None:
        """Load the first run.

        Args:
            path: a run directory; None: what ``runs/latest`` points at.
            load: loads a run directory.
            log: gets a line about each change.

        Raises:
            UserError: the run cannot be loaded.
        """
        self._path = path
        self._load = load
        self._log = log
        directory = self._find()
        self._seen = _read_stamp(directory)
        self._n_polls_since = 0
        self.error: str | None = None
        """Why a newer run is not served; None: there is none, or it is."""
        self.n_reloads = {"done": 0, "failed": 0}
        self.current = load(directory)

    def _find(self) -> Path:
        return (self._path or latest_run()).resolve()

    def poll(self) -> None:
        """Serve a newer run, if there is one. A run that cannot be loaded changes nothing."""
        self._n_polls_since += 1
        try:
            directory = self._find()
            stamp = _read_stamp(directory)
            is_retry = self.error is not None and self._n_polls_since >= RETRY_POLLS
            if stamp == self._seen and not is_retry:
                return
            self._seen, self._n_polls_since = stamp, 0
            if stamp and read_manifest(directory / MANIFEST).status != "complete":
                raise RunError("this run is not complete", where=directory)
            newer = self._load(directory)
        except UserError as error:
            self._fail(str(error))
        except Exception as error:  # a bug must not end the watch
            self._fail(f"{type(error).__name__}: {error}")
        else:
            self.error = None
            self.n_reloads["done"] += 1
            self._log(f"now serves {newer.path} instead of {self.current.name}")
            self.current = newer

    def _fail(self, message: str) -> None:
        """Keep the run, and say why, once for each reason."""
        if message != self.error:
            self.n_reloads["failed"] += 1
            self._log(f"still serves {self.current.name}: {message}")
        self.error = message

    async def watch(self, seconds: float) -> None:
        """Poll for ever, in a thread."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.poll)


def _read_stamp(directory: Path) -> Stamp | None:
    """What changes with the run; None where there is no manifest."""
    try:
        status = (directory / MANIFEST).stat()
    except OSError:
        return None
    return str(directory), status.st_ino, status.st_size, status.st_mtime_ns
