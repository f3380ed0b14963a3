"""What the commands print: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table as RichTable

from ld4mrec_cli.utils.tables import Table
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    from ld4mrec_cli.training.session import Callbacks
    from ld4mrec_cli.training.trainer import EpochReport, Trainer

PIPE_WIDTH = 120
PROGRESS_SECONDS = 10.0
"""Seconds between two lines of progress on a pipe."""
BEST_EPOCH_SECONDS = 1.0
"""Seconds between two lines about better epochs on a pipe."""
FIRST_EPOCHS = 3
"""Epochs that are always printed on a pipe."""


class Throttle:
    """Limits how often progress is printed on a pipe."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start to wait anew: something was printed."""
        self._last = time.monotonic()

    def is_due(self, seconds: float = PROGRESS_SECONDS) -> bool:
        """Whether ``seconds`` have passed since the last :meth:`reset`."""
        return time.monotonic() - self._last >= seconds

    def log(self, text: str, seconds: float = PROGRESS_SECONDS) -> None:
        """Print a line on stderr if ``seconds`` have passed since the last one."""
        if self.is_due(seconds):
            log(text)
            self.reset()


def stderr() -> Console:
    """The console for progress and messages; plain on a pipe."""
    return _console(to_stderr=True)


def stdout() -> Console:
    """The console for results; plain on a pipe."""
    return _console(to_stderr=False)


class SafeConsole(Console):
    """A console that text from data cannot steer, in whatever it is shown."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Replace unsafe characters in all that is rendered but Rich's own control codes."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text, keep="\n")
            yield segment if text == segment.text else Segment(text, segment.style)


def _console(*, to_stderr: bool) -> Console:
    stream = sys.stderr if to_stderr else sys.stdout
    stream = getattr(stream, "unguarded", stream)  # Rich writes escape sequences of its own
    return SafeConsole(
        file=stream,
        highlight=False,
        soft_wrap=not stream.isatty(),
        width=None if stream.isatty() else PIPE_WIDTH,
        no_color=None if stream.isatty() else True,
        force_terminal=None if stream.isatty() else False,
    )


def log(text: str) -> None:
    """Print a plain line on stderr."""
    stderr().print(text, markup=False)


def print_table(table: Table) -> None:
    """Print a table on stdout: with rules on a terminal, aligned by spaces on a pipe."""
    console = stdout()
    rules = box.SIMPLE_HEAD if console.is_terminal else None
    title = None if table.title is None else _without_markup(table.title)
    printed = RichTable(title=title, title_justify="left", box=rules, pad_edge=False)
    for number, column in enumerate(table.columns):
        justify: Literal["left", "right"] = "left" if number == 0 else "right"
        printed.add_column(_without_markup(column), justify=justify, overflow="fold")
    for row in table.rows:
        printed.add_row(*map(_without_markup, row))
    if not console.is_terminal:  # a cell that is wrapped would be lost on `grep`
        needed = console.measure(printed, options=console.options.update(max_width=10_000)).maximum
        console.width = max(console.width, needed)
    console.print(printed)


def _without_markup(text: str) -> str:
    """Text in which Rich reads no markup."""
    return text.replace("[", "\\[")


@contextmanager
def training_callbacks(metric: str, is_visible: bool = True) -> Iterator[Callbacks]:
    """Callbacks that show training: a progress bar on a terminal, lines on a pipe.

    Unless ``is_visible`` they do nothing: of several processes, the main process alone prints.
    """
    from ld4mrec_cli.training.session import Callbacks

    if not is_visible:
        yield Callbacks()
        return
    console = stderr()
    if not console.is_terminal:
        yield Callbacks(on_stage=log, on_note=log, on_epoch=_print_epochs(metric))
        return
    with _progress(console) as progress:
        bar = _Bar(progress, metric)
        note = partial(progress.console.print, markup=False)
        yield Callbacks(bar.on_stage, note, bar.on_start, bar.on_batch, bar.on_epoch)


class _Bar:
    """The progress bar of a training."""

    def __init__(self, progress: Progress, metric: str) -> None:
        self.progress = progress
        self.metric = metric
        self.task = progress.add_task("training", total=None)
        self.best = ""
        self.n_batches = 0

    def on_stage(self, text: str) -> None:
        self.progress.update(self.task, description=text)

    def on_start(self, trainer: Trainer) -> None:
        self.n_batches = trainer.n_batches
        self._next_epoch(trainer.progress.epoch + 1)

    def on_batch(self) -> None:
        self.progress.advance(self.task)

    def on_epoch(self, report: EpochReport) -> None:
        if report.is_best and report.valid:
            self.best = (
                f", best {self.metric} {report.valid[self.metric]:.4f} (epoch {report.epoch})"
            )
            self.progress.console.print(_epoch_line(report, self.metric), markup=False)
        self._next_epoch(report.epoch + 1)

    def _next_epoch(self, epoch: int) -> None:
        self.progress.reset(
            self.task, total=self.n_batches, description=f"epoch {epoch}{self.best}"
        )


def _print_epochs(metric: str) -> Callable[[EpochReport], None]:
    """Print the first epochs, better epochs at most each second, and any epoch each ten seconds."""
    throttle = Throttle()

    def on_epoch(report: EpochReport) -> None:
        if report.epoch <= FIRST_EPOCHS:
            seconds = 0.0
        else:
            seconds = BEST_EPOCH_SECONDS if report.is_best else PROGRESS_SECONDS
        throttle.log(_epoch_line(report, metric), seconds)

    return on_epoch


def _epoch_line(report: EpochReport, metric: str) -> str:
    line = f"epoch {report.epoch:4d}  loss {report.loss:.4f}  {report.seconds:.1f} s"
    if report.valid:
        line += f"  valid {metric} {report.valid[metric]:.4f}" + (
            "  best" if report.is_best else ""
        )
    return line


@contextmanager
def progress_counter(
    description: str, total: int, is_visible: bool = True
) -> Iterator[Callable[[int], None] | None]:
    """A callable that advances a progress bar of ``total`` steps; None on a pipe or if hidden."""
    console = stderr()
    if not (is_visible and console.is_terminal):
        yield None
        return
    with _progress(console) as progress:
        task = progress.add_task(description, total=total)
        yield lambda n_steps: progress.advance(task, n_steps)


class PreparationProgress(Protocol):
    """Shows the progress of long steps of `prepare`."""

    def __call__(self, label: str, done: int, total: int, *, megabytes: bool = False) -> None:
        """``done`` of ``total`` items, or bytes that are printed as megabytes."""
        ...


@contextmanager
def preparation_progress() -> Iterator[PreparationProgress]:
    """A callback that shows long steps: progress bars on a terminal, a line each 10 s on a pipe."""
    console = stderr()
    if not console.is_terminal:
        yield _print_preparation()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def show(label: str, done: int, total: int, *, megabytes: bool = False) -> None:
            amount = _amount(done, total, megabytes)
            if label not in bars:
                description = _without_markup(label)
                bars[label] = progress.add_task(
                    description, total=total, visible=False, amount=amount
                )
            progress.update(bars[label], completed=done, visible=done < total, amount=amount)

        yield show


def _print_preparation() -> PreparationProgress:
    """Print the progress of each step that takes long, each ten seconds."""
    throttles: dict[str, Throttle] = {}

    def show(label: str, done: int, total: int, *, megabytes: bool = False) -> None:
        throttle = throttles.setdefault(label, Throttle())
        throttle.log(f"{label}: {_amount(done, total, megabytes)}")

    return show


def _amount(done: int, total: int, megabytes: bool) -> str:
    return f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if megabytes else f"{done:,} of {total:,}"


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True)
