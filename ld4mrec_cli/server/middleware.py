"""Around every request: who may ask, how much may come, safe headers, metrics and log.

Plain ASGI: Starlette's class for functions as middleware costs a task per request.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import time
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ld4mrec_cli.server.logs import ServerLog
from ld4mrec_cli.server.metrics import Metrics
from ld4mrec_cli.server.pages import FILES
from ld4mrec_cli.server.settings import ServerSettings

SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
BUG = "this is a bug in ld4mrec; the log of the server says more"
DEBUG_VARIABLE = "LD4MREC_DEBUG"
NO_STORE = (b"cache-control", b"no-store")
OPEN_PATHS = frozenset({*FILES, "/health", "/openapi.json"})
"""Paths without data, which need no token."""


class Refusal(Exception):
    """An answer that is given without asking the application."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


class Guard:
    """Middleware of the whole application."""

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, metrics: Metrics, log: ServerLog
    ) -> None:
        self._app = app
        self._limits = settings.limits
        self._hosts = None if settings.hosts is None else {h.lower() for h in settings.hosts}
        self._token = None if settings.token is None else _digest(settings.token.encode())
        self._metrics = metrics
        self._log = log
        self._headers = [(k.lower().encode(), v.encode()) for k, v in SAFE_HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass other events on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def send_safely(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._with_safe_headers(message.get("headers", ()))
            await send(message)

        try:
            headers = _first_values(scope)
            self._check_host(headers)
            scope["is_authorized"] = self._is_authorized(headers)
            if not scope["is_authorized"] and scope["path"] not in OPEN_PATHS:
                what = "a token is needed" if b"authorization" not in headers else "wrong token"
                raise Refusal(401, what, {"WWW-Authenticate": "Bearer"})
            body = await self._read_body(headers, receive)
            await self._app(scope, _replay(body, receive), send_safely)
        except Refusal as refusal:
            await _send_error(send_safely, refusal)
        except Exception as error:
            self._say_bug(error)
            if status:  # the answer has begun; the server breaks it off
                raise
            await _send_error(send_safely, Refusal(500, BUG))
        finally:
            self._note(scope, status or 500, time.perf_counter() - started)

    def _with_safe_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> list[Any]:
        own = list(headers)
        if not any(name.lower() == b"cache-control" for name, _ in own):
            own.append(NO_STORE)
        return own + self._headers

    def _check_host(self, headers: Mapping[bytes, bytes]) -> None:
        if self._hosts is None:
            return
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
        if name not in self._hosts:
            raise Refusal(421, "this server does not answer to this name; see --allow-host")

    def _is_authorized(self, headers: Mapping[bytes, bytes]) -> bool:
        if self._token is None:
            return True
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        # Digests have one length, so that not even the length of the token is measured.
        is_same = hmac.compare_digest(_digest(token.strip()), self._token)
        return is_same and scheme.lower() == b"bearer"

    async def _read_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body. Raises Refusal if it is too long, or too slow."""
        limit = self._limits.max_body
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" not in headers and length == b"0":
            return b""
        too_long = Refusal(413, f"the body is longer than {limit:,} bytes", {"Connection": "close"})
        if length.isdigit() and int(length) > limit:
            raise too_long
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.timeout):
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise too_long
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            what = "the body did not arrive in time"
            raise Refusal(408, what, {"Connection": "close"}) from None

    def _say_bug(self, error: Exception) -> None:
        self._log(f"this is a bug in ld4mrec: {type(error).__name__}: {error}")
        if os.environ.get(DEBUG_VARIABLE):
            for line in traceback.format_exception(error):
                self._log(line.rstrip())

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if route != "other" else "other"
        self._metrics.observe(method, route, status, seconds)
        client = (scope.get("client") or ("-",))[0]
        self._log.request(client, method, route, status, seconds)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _first_values(scope: Scope) -> dict[bytes, bytes]:
    """Headers by lower-case name; of repeated ones, the first."""
    return dict(reversed(scope["headers"]))


def _replay(body: bytes, receive: Receive) -> Receive:
    """A channel that gives a body that was read already, and then goes on as the true one."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


async def _send_error(send: Send, refusal: Refusal) -> None:
    body = json.dumps({"error": refusal.message}).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **refusal.headers,
    }
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
