"""How a raw directory is read: with which options, what becomes of malformed lines, and who watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError

SHOWN_BAD_LINES = 5
"""Malformed lines that are kept to be shown."""
OnRead = Callable[[Path, int, int], None]
"""Called while a long file is read: the file, bytes read, bytes in all."""


def _unwatched(path: Path, done: int, total: int) -> None:
    pass


@dataclass
class ReadContext:
    """One reading of a raw directory; handed to the reader of its layout."""

    options: PrepareConfig
    on_read: OnRead = _unwatched
    n_bad_lines: int = 0
    """Malformed lines left out so far."""
    bad_lines: list[str] = field(default_factory=list)
    """The first of them, as messages."""
    hints: list[str] = field(default_factory=list)
    """Messages about columns that look useful and are not used."""

    @property
    def skips(self) -> bool:
        """Whether malformed lines are left out rather than an error."""
        return self.options.on_error == "skip"

    def report(self, error: SourceError) -> None:
        """Meet a malformed line: raise ``error``, or count it where malformed lines are left out.

        Raises:
            SourceError: malformed lines are an error, or there are more than ``max_errors`` of them.
        """
        if not self.skips:
            raise error
        self.n_bad_lines += 1
        if self.n_bad_lines > self.options.max_errors:
            what = f"more than {self.options.max_errors} malformed lines, the last one: {error}"
            raise SourceError(what, hint="Raise --max-errors, or mend the file") from None
        if len(self.bad_lines) < SHOWN_BAD_LINES:
            self.bad_lines.append(str(error))

    def hint(self, message: str) -> None:
        """Keep a message about columns that are not used; `prepare` prints it."""
        if message not in self.hints:
            self.hints.append(message)
