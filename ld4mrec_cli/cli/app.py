"""The command `ld4mrec`: its subcommands, its help, its exit codes, and how errors are printed."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ld4mrec_cli import __version__
from ld4mrec_cli.cli import (
    compare,
    config,
    demo,
    evaluate,
    inject_noise,
    inspect,
    prepare,
    recommend,
    train,
    tune,
)
from ld4mrec_cli.utils.errors import UserError
from ld4mrec_cli.utils.memory import is_out_of_memory

DEBUG_VARIABLE = "LD4MREC_DEBUG"

COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Data": {
        "inspect": inspect.inspect,
        "prepare": prepare.prepare,
        "inject-noise": inject_noise.inject_noise,
    },
    "Training": {
        "train": train.train,
        "evaluate": evaluate.evaluate,
    },
    "Recommendations": {
        "recommend": recommend.recommend,
    },
    "Research": {
        "compare": compare.compare,
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


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ld4mrec {__version__}")
        raise typer.Exit


SHARED_COMMANDS = ("train", "evaluate", "recommend")
"""What several processes can do together."""


def is_shared() -> bool:
    """Whether torchrun started several processes; asked here without the slow import of torch."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if is_shared() and context.invoked_subcommand not in SHARED_COMMANDS:
        hint = f"Under torchrun there are {', '.join(SHARED_COMMANDS)}"
        raise UserError(f"`{context.invoked_subcommand}` is done by one process", hint=hint)


def main() -> None:
    """Entry point of the command; being asked to end (by `timeout` or a scheduler) is an interruption."""
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = sys.argv[1:]
    # `torchrun … -m ld4mrec_cli -- train --run X`: torchrun would take --run for its own, and may leave the `--`.
    sys.exit(run(arguments[1:] if arguments[:1] == ["--"] else arguments))


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code: 0 done, 1 the run failed, 2 wrong usage or bad input."""
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # makes CUDA matrix products repeatable
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # titles hold more than some terminals can show
    try:
        result = app(args=list(arguments), prog_name="ld4mrec", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        # The reader went away (`| head`): keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        message, code = (LOST, 1) if _is_of_another_process(error) else _explain(error)
        whose = (
            f"process {os.environ['RANK']}: " if is_shared() and os.environ["RANK"] != "0" else ""
        )
        sys.stderr.write(f"{whose}error: {message}\n")
        sys.stderr.flush()
        return code


LOST = "another process of this work ended, or cannot be reached"


def _is_of_another_process(error: BaseException) -> bool:
    """Whether an error says that processes that torchrun started lost each other."""
    return (
        is_shared()
        and isinstance(error, RuntimeError)
        and any(name in str(error) for name in ("gloo", "NCCL"))
    )


def _explain(error: BaseException) -> tuple[str, int]:
    """The one line that an error is worth, and its exit code."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):
        return error.format_message() or "wrong usage; see --help", 2
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted", 1
    if is_out_of_memory(error):
        return "out of memory. Lower training.batch_size, or evaluation.batch_size", 1
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""), 1
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    hint = f"This is a fault of ld4mrec; set {DEBUG_VARIABLE}=1 to see where"
    return f"{type(error).__name__}: {' '.join(str(error).split())}. {hint}", 1
