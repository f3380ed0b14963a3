"""The server process: its socket, its signals, and its end."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from ld4mrec_cli.server.settings import LOOPBACK
from ld4mrec_cli.utils.errors import UserError

MAX_CONNECTIONS = 1024
"""Open connections; further ones get 503."""
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 30
GRACE_SECONDS = 5.0
"""Seconds beyond the time limit of a request in which the answers in progress may end."""


class _Server(uvicorn.Server):
    """Ends at a signal with the exit code 0; uvicorn's own raises the signal again."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let the answers in progress end; at a second signal, end at once."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A socket of an address; port 0 takes a free one.

    Raises:
        UserError: the port is in use, or this machine has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no name"
        raise UserError(f"the host '{host}' cannot be found ({reason})") from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)  # only now does the system refuse a port that is in use
    except (OSError, OverflowError) as error:
        bound.close()
        raise _explain(error, host, port) from None
    return bound


def _explain(error: Exception, host: str, port: int) -> UserError:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return UserError(f"port {port} of {host} is in use", hint="Choose another --port")
    if code in (errno.EACCES, errno.EPERM):
        hint = "Choose a --port of 1024 or more"
        return UserError(f"port {port} may not be used by this user", hint=hint)
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(f"{host}:{port} cannot be used ({reason})", hint="Choose another --host")


def address_of(bound: socket.socket) -> str:
    """The address that a browser on this machine takes."""
    host, port = bound.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - shown, not bound
        host = LOOPBACK[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: ASGIApp, bound: socket.socket, timeout: float) -> None:
    """Answer requests until SIGINT, SIGTERM or SIGHUP; then end the answers in progress.

    Args:
        app: the application.
        bound: the socket that listens.
        timeout: seconds that a request may take.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        limit_concurrency=MAX_CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(timeout + GRACE_SECONDS),
    )
    server = _Server(config)
    hangup: Any = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, server.handle_exit)
    asyncio.run(server.serve(sockets=[bound]))
