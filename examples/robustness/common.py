"""Shared by the campaigns of this folder: run a command in this process and judge its end."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from ld4mrec_cli.cli.app import run

SLOW_SECONDS = 30.0
"""Processor time within which a hostile input must be answered, on a busy machine too."""


@dataclass(frozen=True)
class Outcome:
    """End of one command."""

    code: int | None
    """Exit code; None where an exception left the command."""
    out: str
    err: str
    seconds: float
    """Of the processor, all threads."""

    @property
    def kind(self) -> str:
        """``ok``, ``refused`` (one clear line, exit code 1 or 2) or ``bug``."""
        if self.seconds > SLOW_SECONDS:
            return "bug"
        if self.code == 0:
            return "ok"
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        is_clear = (
            self.code in (1, 2)
            and len(errors) == 1
            and "bug in ld4mrec" not in self.err
            and "Traceback" not in self.err
            and "panicked" not in self.err
        )
        return "refused" if is_clear else "bug"


def run_command(*arguments: object) -> Outcome:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: int | None = None
    start = time.process_time()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = run([str(argument) for argument in arguments])
        except BaseException:  # also of Rust, which is no Exception
            err.write(traceback.format_exc())
    return Outcome(code, out.getvalue(), err.getvalue(), time.process_time() - start)


@dataclass
class Tally:
    """Counts of outcomes, and the inputs that showed a bug."""

    counts: Counter[str] = field(default_factory=Counter)
    bugs: list[str] = field(default_factory=list)

    def add(self, kind: str, description: str) -> None:
        """Count an outcome; ``description`` of a bug is kept."""
        self.counts[kind] += 1
        if kind not in ("ok", "refused", "same"):
            self.bugs.append(f"{kind}: {description}")

    def __str__(self) -> str:
        counts = ", ".join(f"{kind} {count:,}" for kind, count in sorted(self.counts.items()))
        return f"{self.counts.total():,} inputs: {counts}"


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a temporary directory, which is removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="ld4mrec-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def shorten(text: str, limit: int = 300) -> str:
    """The end of a text in one line, for a report."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"…{line[-limit:]}"
