"""Errors that a user can mend.

Every message says what is wrong, where, and how to mend it, on one line. The command line prints the
message of a :class:`UserError` and exits with its ``exit_code``; any other exception is a fault of the
program and is reported as such.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Something the user can mend: bad input, wrong usage. Exit code 2."""

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        """``what`` is wrong, ``where`` (file or directory, with its 1-based ``line``), ``hint`` mends it."""
        place = "" if where is None else f"{where}:{line}: " if line is not None else f"{where}: "
        text = f"{place}{what}" + (f". {hint}" if hint else "")
        super().__init__(" ".join(text.split()))


class ConfigError(UserError):
    """A configuration file or ``--set`` value that does not fit the config model."""


class SourceError(UserError):
    """A raw file that is missing, malformed or inconsistent."""


class DatasetError(UserError):
    """A dataset directory that is missing, damaged or unfit for what is asked."""


class RunError(UserError):
    """A run directory or checkpoint that is missing, damaged or unfit for what is asked."""


class OutputError(UserError):
    """An output that exists already or cannot be written."""


class DeviceError(UserError):
    """A compute device that this machine does not have."""


class UnknownIdError(UserError):
    """A user or item id that the dataset does not know."""


class TrainingDiverged(UserError):
    """The loss stopped being finite. The run failed, so the exit code is 1."""

    exit_code = 1


class TrainingInterrupted(UserError):
    """Training was interrupted and can be resumed. Exit code 1."""

    exit_code = 1


class StudyFailed(UserError):
    """Too few runs of a comparison, or no trial of a search, gave a result. Exit code 1."""

    exit_code = 1


SHOWN = 20
"""Candidates that are listed in full where none is near."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return ``"Did you mean 'x'?"`` for the nearest candidate, or the candidates where none is near."""
    known = list(candidates)
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if matches:
        return f"Did you mean '{matches[0]}'?"
    if len(known) > SHOWN:
        return f"Known: {', '.join(known[:3])}, … ({len(known)} in all)"
    return f"Known: {', '.join(known)}" if known else ""
