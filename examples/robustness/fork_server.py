"""Run ld4mrec in forks of a process that has imported it: a start then costs no seconds (Linux).

The server only imports: it computes nothing, so no thread pool of polars, torch or OpenMP is lost
in a fork. ``inject/sitecustomize.py`` is armed in the fork, as Python does at its start. What forks
do not show, kills.py does: imports, trainings of ``compare`` in new processes, and another seed of
Python's hashes in each process.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

from scenarios import kill_tree

from ld4mrec_cli.utils.threads import THREAD_VARIABLES

INJECT = Path(__file__).parent / "inject"
ALSO_IMPORTED = (
    "matplotlib.backends.backend_agg",
    "sklearn.decomposition",
    "sklearn.feature_extraction.text",
    "torch._dynamo",
)
"""What commands import late, beside the modules of ld4mrec."""
TIMEOUT_SECONDS = 300


class ForkServer:
    """A process that runs commands, one at a time. Closing it ends it after its command."""

    def __init__(self, connection: socket.socket, process: subprocess.Popen | None = None) -> None:
        self._connection, self._process = connection, process
        self._stream = connection.makefile("rw")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()
        self._connection.close()
        if self._process:
            self._process.wait()

    @classmethod
    def start(cls) -> Self:
        """Start a server with one thread per process, out of the reach of Ctrl-C."""
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")},
            start_new_session=True,
        )
        theirs.close()
        return cls(ours, process)

    @classmethod
    def fork(cls) -> Self:
        """Make this process, which has computed nothing yet, a server's parent."""
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            serve(theirs)
            os._exit(0)
        theirs.close()
        return cls(ours)

    def run(
        self, arguments: Sequence[str], work: Path, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Exit code and output of a command in ``work``; its child processes are killed after it.

        Raises:
            TimeoutError: it took longer than ``TIMEOUT_SECONDS``, and was killed.
        """
        output = work.with_suffix(f".{os.getpid()}.out")
        request = [list(arguments), str(work), str(output), dict(environment or {})]
        print(json.dumps(request), file=self._stream, flush=True)
        answer = self._stream.readline()
        if not answer:
            raise RuntimeError("the server has ended")
        text = output.read_text(errors="replace")
        output.unlink()
        if (code := json.loads(answer)) is None:
            raise TimeoutError(f"no end after {TIMEOUT_SECONDS} s: {text[-600:]}")
        return code, text


def serve(connection: socket.socket) -> None:
    """Answer requests by exit codes, None after a timeout, until the connection is closed."""
    stream = connection.makefile("rw")
    gc.freeze()  # forks collect, and so copy, only what is their own
    for line in stream:
        pid = os.fork()
        if pid == 0:
            run_command(*json.loads(line))
        handle = os.pidfd_open(pid)
        is_done = bool(select.select([handle], [], [], TIMEOUT_SECONDS)[0])
        os.close(handle)
        kill_tree(pid)  # what it left, and itself after a timeout
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError):  # closed before the command's end
            print(json.dumps(code if is_done else None), file=stream, flush=True)


def run_command(
    arguments: list[str], work: str, output: str, environment: dict[str, str]
) -> NoReturn:
    """Become the process of a command.

    At its end the modules are not taken down, which would copy all the memory of the server.
    """
    os.setsid()
    os.chdir(work)
    redirect(os.devnull, os.O_RDONLY, 0)
    redirect(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 1, 2)
    sys.argv[1:] = arguments
    if arguments[0] == "compare":
        train_in_forks()  # before the environment, which arms the events
    os.environ.update(environment)
    sys.path.insert(0, str(INJECT))
    sys.modules.pop("sitecustomize", None)
    importlib.import_module("sitecustomize")
    from ld4mrec_cli.__main__ import main

    try:
        main()
    except SystemExit as end:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(end.code)
    raise AssertionError("a command ends its process")


def redirect(path: str, flags: int, *targets: int) -> None:
    """Open a file as the descriptors ``targets``."""
    handle = os.open(path, flags)
    for target in targets:
        os.dup2(handle, target)
    os.close(handle)


def train_in_forks() -> None:
    """Let `compare` train in forks of this process. Its events are counted in this process only."""
    from ld4mrec_cli.experiments.compare import comparison
    from ld4mrec_cli.experiments.subprocess_training import TrainingFailed

    server = ForkServer.fork()

    def train(arguments: Sequence[str], log: Callable[[str], None]) -> None:
        code, output = server.run(["train", *arguments], Path.cwd())
        for line in output.splitlines():
            log(line)
        if code:
            raise TrainingFailed(f"exit {code}")

    comparison.compare = functools.partial(comparison.compare, train=train)


def import_commands() -> None:
    """Import all that commands import. Pictures are stand-ins: drawing takes most of the time."""
    import ld4mrec_cli

    names = [module.name for module in pkgutil.walk_packages(ld4mrec_cli.__path__, "ld4mrec_cli.")]
    for name in (*names, *ALSO_IMPORTED):
        importlib.import_module(name)
    from matplotlib.figure import Figure

    Figure.savefig = lambda figure, path, **options: Path(path).write_bytes(b"\x89PNG\r\n\x1a\n")


if __name__ == "__main__":
    import_commands()
    serve(socket.socket(fileno=int(sys.argv[1])))
