"""`ld4mrec serve`."""

from __future__ import annotations

import importlib.util
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ld4mrec_cli.cli.options import Device, Run, Threads
from ld4mrec_cli.utils.errors import UserError
from ld4mrec_cli.utils.threads import configure_threads

PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
"""Modules of the extra `serve`."""


class LogFormat(StrEnum):
    """How lines on stderr look."""

    PLAIN = "plain"
    JSON = "json"


def serve(
    run: Run = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token that requests for data must carry; without it, the token "
            "in LD4MREC_TOKEN.",
            metavar="FILE",
            show_default="no token",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Answer to this Host header, too; may be repeated.",
            show_default="names of this machine on 127.0.0.1 without a token, else any",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the raw files; pictures are its images/ITEM.jpg.",
            metavar="DIR",
            show_default="no pictures",
        ),
    ] = None,
    max_k: Annotated[int, typer.Option(min=1, help="Items of a list at most.")] = 200,
    max_lists: Annotated[
        int, typer.Option(min=1, help="Users and histories of a request at most.")
    ] = 256,
    max_body: Annotated[
        int, typer.Option(min=1, help="Bytes of the body of a request at most.")
    ] = 1 << 20,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds that a request may take.")
    ] = 10.0,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Requests that are computed at the same time.")
    ] = 2,
    max_waiting: Annotated[
        int, typer.Option(min=0, help="Requests that wait for a worker; further ones get 503.")
    ] = 64,
    reload_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds between two looks for a newer run; 0: never.")
    ] = 2.0,
    log_format: Annotated[
        LogFormat, typer.Option(help="Lines on stderr as text or JSON.")
    ] = LogFormat.PLAIN,
    log_requests: Annotated[
        bool, typer.Option("--log-requests/--no-log-requests", help="A line per request.")
    ] = True,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Answer requests over HTTP, with a page to try it.

    Serves the last run, unless --run names another, and changes to a newer one without dropping a
    request. The page is at /, the description of the API at /docs. It ends at Ctrl-C or SIGTERM.

    Example: ld4mrec serve

    Example: ld4mrec serve --run runs/served --port 8080 --token-file token.txt
    """
    _check_extra()

    from ld4mrec_cli.server.app import create_app
    from ld4mrec_cli.server.logs import ServerLog
    from ld4mrec_cli.server.process import address_of, bind
    from ld4mrec_cli.server.process import serve as serve_app
    from ld4mrec_cli.server.run_source import RunSource
    from ld4mrec_cli.server.served_run import ServedRun
    from ld4mrec_cli.server.settings import Limits, ServerSettings, allowed_hosts, read_token

    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        configure_threads(max(1, (os.cpu_count() or 1) // workers))
    token = read_token(token_file)
    settings = ServerSettings(
        Limits(
            max_k=max_k,
            max_lists=max_lists,
            max_body=max_body,
            timeout=timeout,
            workers=workers,
            max_waiting=max_waiting,
        ),
        token=token,
        hosts=allowed_hosts(host, token, allow_host or ()),
        images=images,
        reload_seconds=reload_seconds,
    )
    log = ServerLog(log_format.value, requests=log_requests)
    with bind(host, port) as bound:
        source = RunSource(run, lambda path: ServedRun(path, device or "auto", images), log)
        app = create_app(source, settings, log)
        log(f"serves {source.current.path} at {address_of(bound)}")
        if token is None and settings.hosts is None:
            log("anyone who reaches this address may ask; --token-file asks for a token")
        serve_app(app, bound, timeout)
        log("has ended")


def _check_extra() -> None:
    """Raise UserError where a package of the extra is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        what = f"`serve` needs {', '.join(missing)}"
        raise UserError(what, hint="Install the extra: pip install 'ld4mrec[serve]'")
