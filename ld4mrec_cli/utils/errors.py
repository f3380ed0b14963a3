"""User errors: wrong input, wrong usage, or a run that failed for a known reason.

Every message says in one line what is wrong, where, and how to fix it. The command line prints the
message of a :class:`UserError` and exits with its ``exit_code``. Any other exception is a bug in
ld4mrec and is reported as such.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Bad input or wrong usage. Exit code 2."""

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        """Put the message together.

        Args:
            what: the problem.
            where: file or directory.
            line: number of the line in that file, from 1.
            hint: how to fix it.
        """
        place = "" if where is None else f"{where}:{line}: " if line is not None else f"{where}: "
        text = f"{place}{what}" + (f". {hint}" if hint else "")
        super().__init__(" ".join(text.split()))


class ConfigError(UserError):
    """A configuration file or ``--set`` value that does not fit the config model."""


class SourceError(UserError):
    """A raw file that is missing, malformed or inconsistent."""


class DatasetError(UserError):
    """A dataset directory that is missing, damaged or unfit for the command."""


class RunError(UserError):
    """A run directory or checkpoint that is missing, damaged or unfit for the command."""


class OutputError(UserError):
    """An output that exists already or cannot be written."""


class OutputFailed(OutputError):
    """Writing an output failed half-way, as on a full disk. Exit code 1."""

    exit_code = 1


class DeviceError(UserError):
    """A compute device that this machine does not have."""


class UnknownIdError(UserError):
    """A user or item id that the dataset does not know."""


class TrainingDiverged(UserError):
    """The loss is no longer finite. Exit code 1."""

    exit_code = 1


class TrainingInterrupted(UserError):
    """Training was interrupted and can be resumed. Exit code 1."""

    exit_code = 1


class StudyFailed(UserError):
    """Too few runs of a comparison, or no trial of a search, gave a result. Exit code 1."""

    exit_code = 1


MAX_LISTED = 20
"""Candidates that are listed in full where none is near."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return ``"Did you mean 'x'?"`` for the nearest candidate; where none is near, list them."""
    known = list(candidates)
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if matches:
        return f"Did you mean '{matches[0]}'?"
    if len(known) > MAX_LISTED:
        return f"Known: {', '.join(known[:3])}, … ({len(known)} in all)"
    return f"Known: {', '.join(known)}" if known else ""
