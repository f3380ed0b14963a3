"""How a raw directory is read: options, malformed lines and progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError

SHOWN_BAD_LINES = 5
"""Number of malformed lines whose messages are stored."""
OnRead = Callable[[Path, int, int], None]
"""Called while a long file is read: the file, bytes read, bytes in all."""


def _ignore_progress(path: Path, done: int, total: int) -> None:
    pass


@dataclass
class ReadContext:
    """State of reading one raw directory; the reader of its layout gets it."""

    options: PrepareConfig
    on_read: OnRead = _ignore_progress
    n_bad_lines: int = 0
    """Malformed lines skipped so far."""
    bad_lines: list[str] = field(default_factory=list)
    """Messages of the first of them."""
    events: dict[str, int] = field(default_factory=dict)
    """Type of event → number of lines, where a column of events is named."""
    needs_weights: bool = True
    """Whether each type of event must have a weight."""
    hints: list[str] = field(default_factory=list)
    """Messages about columns that look useful and are not used."""

    @property
    def skips(self) -> bool:
        """Whether malformed lines are skipped rather than an error."""
        return self.options.on_error == "skip"

    def report(self, error: SourceError) -> None:
        """Report a malformed line: raise ``error``, or count it where such lines are skipped.

        Raises:
            SourceError: malformed lines are an error, or more than ``max_errors`` were skipped.
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
        """Store a message about columns that are not used; `prepare` prints it."""
        if message not in self.hints:
            self.hints.append(message)
