"""The command `ld4mrec`: its subcommands, its help, its exit codes, and how errors are printed."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any, TextIO, cast

import typer
from typer.core import TyperGroup

from ld4mrec_cli import __version__
from ld4mrec_cli.cli import (
    add_items,
    compare,
    config,
    demo,
    evaluate,
    export,
    inject_noise,
    inspect,
    prepare,
    recommend,
    refit,
    runs,
    serve,
    similar,
    study,
    train,
    tune,
)
from ld4mrec_cli.utils import interrupts
from ld4mrec_cli.utils.disk import write_error
from ld4mrec_cli.utils.errors import UserError
from ld4mrec_cli.utils.memory import is_out_of_memory
from ld4mrec_cli.utils.text import SafeStream, is_utf8, printable
from ld4mrec_cli.utils.threads import use_passive_waiting

DEBUG_VARIABLE = "LD4MREC_DEBUG"

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Data": {
        "inspect": inspect.inspect,
        "prepare": prepare.prepare,
        "inject-noise": inject_noise.inject_noise,
    },
    "Training": {
        "train": train.train,
        "refit": refit.refit,
        "evaluate": evaluate.evaluate,
        "runs": runs.runs,
    },
    "Recommendations": {
        "add-items": add_items.add_items,
        "recommend": recommend.recommend,
        "similar": similar.similar,
        "serve": serve.serve,
        "export": export.export,
    },
    "Research": {
        "compare": compare.compare,
        "study": study.study,
        "tune": tune.tune,
        "config": config.config,
        "demo": demo.demo,
    },
}
"""Commands by group, in the order of the help."""


class CommandGroups(TyperGroup):
    """Lists the commands by group in ``ld4mrec --help``, the same on a terminal and on a pipe."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section per group."""
        width = max(map(len, self.commands))
        limit = formatter.width - width - 4
        for group, names in COMMANDS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(f"{name:<{width}}", c.get_short_help_str(limit)) for name, c in commands if c]
            with formatter.section(group):
                formatter.write_dl(rows)


app = typer.Typer(
    name="ld4mrec",
    cls=CommandGroups,
    help="Recommendations from interaction logs and item content by LD4MRec, a light diffusion "
    "model, and by its baselines.",
    epilog="Start with `ld4mrec demo`. The --help of each command has an example.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _commands in COMMANDS.values():
    for _name, _function in _commands.items():
        app.command(_name)(_function)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"ld4mrec {__version__}")
        raise typer.Exit


SHARED_COMMANDS = ("train", "refit", "evaluate", "recommend")
"""Commands that several processes can run together."""


def is_shared() -> bool:
    """Whether torchrun started several processes. Unlike `utils.distributed`, without torch."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    if is_shared() and context.invoked_subcommand not in SHARED_COMMANDS:
        hint = f"Under torchrun there are {', '.join(SHARED_COMMANDS)}"
        raise UserError(f"`{context.invoked_subcommand}` is done by one process", hint=hint)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code.

    0: done; 1: the run failed or was interrupted; 2: wrong usage or bad input.
    """
    # makes matrix products on CUDA repeatable
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    use_passive_waiting()
    with _safe_streams():
        try:
            _check_utf8((*arguments, os.getcwd()))
            result = app(args=list(arguments), prog_name="ld4mrec", standalone_mode=False)
            if result == TYPER_INTERRUPTED:
                raise KeyboardInterrupt
            sys.stdout.flush()
        except BrokenPipeError:  # the reader is gone, as in `| head`
            _discard_stdout()
            return 1
        except (Exception, KeyboardInterrupt) as error:
            interrupts.ignore()
            return _report(error)
    interrupts.ignore()
    return result if isinstance(result, int) else 0


MAX_MESSAGE = 2_000
"""Characters of an error message; a value in it may be a whole file."""
TYPER_INTERRUPTED = 130
"""Result of a Typer app on KeyboardInterrupt."""


@contextmanager
def _safe_streams() -> Iterator[None]:
    """Keep unsafe characters off stderr, and off stdout where that is a terminal.

    Files and pipes get the true data of CSV and JSON on stdout.
    """
    streams = sys.stdout, sys.stderr
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):  # titles may not fit the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = cast(TextIO, SafeStream(sys.stderr))
    if sys.stdout.isatty():
        sys.stdout = cast(TextIO, SafeStream(sys.stdout))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def _check_utf8(names: Sequence[str]) -> None:
    """Refuse arguments and paths that are not UTF-8, which JSON, Parquet and polars cannot hold."""
    for name in names:
        if not is_utf8(name):
            raise UserError("the name is not UTF-8", where=name, hint="Rename it")


def _discard_stdout() -> None:
    """Drop buffered output, which the interpreter would try to write again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: BaseException) -> int:
    """Print an error in one line, and return its exit code."""
    message, code = (LOST, 1) if _is_of_another_process(error) else _explain(error)
    is_worker = is_shared() and os.environ["RANK"] != "0"
    prefix = f"process {os.environ['RANK']}: " if is_worker else ""
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]}…"
    sys.stderr.write(f"{prefix}error: {printable(message)}\n")
    sys.stderr.flush()
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()
    return code


LOST = "another process of this command ended, or cannot be reached"


def _is_of_another_process(error: BaseException) -> bool:
    """Whether an error says that processes that torchrun started lost each other."""
    return (
        is_shared()
        and isinstance(error, RuntimeError)
        and any(name in str(error) for name in ("gloo", "NCCL"))
    )


def _explain(error: BaseException) -> tuple[str, int]:
    """Message of an error in one line, and its exit code."""
    if isinstance(error, UserError):
        if error.exit_code == UserError.exit_code and interrupts.was_interrupted(error):
            return "interrupted", 1  # a library made of it that a file is damaged, say
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):
        return " ".join(error.format_message().split()) or "wrong usage; see --help", 2
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):
        return str(error), 2  # of Path.resolve()
    return _explain_failure(error), 1


def _explain_failure(error: BaseException) -> str:
    """Message of an error that is not the user's, in one line."""
    if interrupts.was_interrupted(error) or isinstance(error, typer.Abort):
        return "interrupted"
    if is_out_of_memory(error):
        return "out of memory. Lower training.batch_size, or evaluation.batch_size"
    reason = write_error(error)
    if reason is not None:  # files name themselves, see utils.disk; stdout is left
        return f"{getattr(error, 'filename', None) or 'stdout'}: cannot be written ({reason})"
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    if os.environ.get(DEBUG_VARIABLE):
        sys.stderr.write("".join(traceback.format_exception(error)))
    hint = f"This is a bug in ld4mrec; set {DEBUG_VARIABLE}=1 to see where"
    return f"{type(error).__name__}: {' '.join(str(error).split())}. {hint}"
