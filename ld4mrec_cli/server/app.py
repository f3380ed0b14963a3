"""The application: `create_app(source, settings, log)` for any ASGI server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ld4mrec_cli import __version__
from ld4mrec_cli.server import pages, routes
from ld4mrec_cli.server.batching import Batcher
from ld4mrec_cli.server.logs import ServerLog
from ld4mrec_cli.server.metrics import Metrics
from ld4mrec_cli.server.middleware import Guard
from ld4mrec_cli.server.pool import BusyError, ComputePool, TooSlowError
from ld4mrec_cli.server.run_source import RunSource
from ld4mrec_cli.server.settings import ServerSettings
from ld4mrec_cli.server.state import ServerState
from ld4mrec_cli.utils.errors import UnknownIdError, UserError
from ld4mrec_cli.utils.text import printable

DESCRIPTION = (
    "Recommendations of a trained run, in your own ids. An error has one line, such as "
    '{"error": "unknown user \'42\'"}.'
)
MAX_BATCH = 32
"""Plain requests that are computed together."""
MAX_MESSAGE = 500
"""Characters of an error message; a value in it may be as long as a body."""


def create_app(source: RunSource, settings: ServerSettings, log: ServerLog) -> FastAPI:
    """The application that serves the run of ``source``.

    While it runs, it looks for a newer run every ``settings.reload_seconds``.
    """
    limits = settings.limits
    pool = ComputePool(limits.workers, limits.max_waiting, limits.timeout)
    metrics = Metrics(pool, source)
    plain = Batcher(pool, routes.compute_plainly, MAX_BATCH)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watch = None
        if settings.reload_seconds:
            watch = asyncio.create_task(source.watch(settings.reload_seconds))
        try:
            yield
        finally:
            if watch is not None:
                watch.cancel()
            pool.close()

    app = FastAPI(
        title="ld4mrec",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.server = ServerState(settings, source, pool, metrics, plain)
    app.include_router(pages.router)
    app.include_router(routes.router)
    _add_error_handlers(app)
    app.add_middleware(Guard, settings=settings, metrics=metrics, log=log)
    return app


def _add_error_handlers(app: FastAPI) -> None:
    """Answer every error with a status and one line."""

    async def refuse(request: Request, error: Any) -> Response:
        is_ours = error.exit_code == 1  # such as scores that are not finite
        status = 404 if isinstance(error, UnknownIdError) else 500 if is_ours else 400
        return _error(status, str(error))

    async def refuse_form(request: Request, error: Any) -> Response:
        return _error(422, _explain_form(error))

    async def refuse_http(request: Request, error: Any) -> Response:
        return _error(error.status_code, str(error.detail), error.headers)

    async def say_busy(request: Request, error: Exception) -> Response:
        return _error(503, "too many requests wait; try again later", {"Retry-After": "1"})

    async def say_slow(request: Request, error: Exception) -> Response:
        return _error(504, "it took too long; ask for less, or try again later")

    app.add_exception_handler(UserError, refuse)
    app.add_exception_handler(RequestValidationError, refuse_form)
    app.add_exception_handler(HTTPException, refuse_http)
    app.add_exception_handler(BusyError, say_busy)
    app.add_exception_handler(TooSlowError, say_slow)


def _error(status: int, message: str, headers: Any = None) -> Response:
    text = " ".join(printable(message).split()).replace("--skip-unknown", "skip_unknown")
    shown = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"
    body = json.dumps({"error": shown}, ensure_ascii=False).encode()
    return Response(body, status, dict(headers or {}), "application/json")


def _explain_form(error: RequestValidationError) -> str:
    """The first thing that is wrong with a request, in a line."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"the body is no JSON: {first.get('ctx', {}).get('error', '')}"
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    return f"{place or 'body'}: {first['msg'][:1].lower()}{first['msg'][1:]}"
