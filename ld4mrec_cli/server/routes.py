"""The JSON API."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, Response

from ld4mrec_cli.server import answers
from ld4mrec_cli.server.metrics import CONTENT_TYPE
from ld4mrec_cli.server.pool import Deadline
from ld4mrec_cli.server.schemas import (
    K_DESCRIPTION,
    ErrorAnswer,
    HealthAnswer,
    InfoAnswer,
    ItemAnswer,
    ItemsAnswer,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    UserAnswer,
    UsersAnswer,
)
from ld4mrec_cli.server.served_run import ServedRun
from ld4mrec_cli.server.state import ServerState
from ld4mrec_cli.utils.errors import UnknownIdError, UserError

MAX_FOUND = 100
"""Items and users that a search gives."""
MAX_HISTORY = 1000
"""Items of a history that are shown."""
KEEP_A_DAY = {"Cache-Control": "private, max-age=86400"}

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "Wrong input"},
    401: {"model": ErrorAnswer, "description": "No token, or a wrong one"},
    404: {"model": ErrorAnswer, "description": "Unknown user or item"},
    413: {"model": ErrorAnswer, "description": "The body is too long"},
    422: {"model": ErrorAnswer, "description": "The body or a parameter has not the right form"},
    503: {"model": ErrorAnswer, "description": "Too many requests wait; see Retry-After"},
    504: {"model": ErrorAnswer, "description": "It took too long"},
}
router = APIRouter(responses=ERRORS)

ItemId = Annotated[str, Path(description="Item id; encode / as %2F.", max_length=1000)]
UserId = Annotated[str, Path(description="User id; encode / as %2F.", max_length=1000)]
Found = Annotated[int, Query(ge=1, le=MAX_FOUND, description="Results at most.")]
Text = Annotated[str, Query(max_length=200, description="Words; case and accents do not matter.")]


def _state(request: Request) -> ServerState:
    state: ServerState = request.app.state.server
    return state


async def _answer(
    request: Request, compute: Callable[[ServedRun, Deadline], dict[str, Any]]
) -> Response:
    """Compute an answer of the run that is served now, and its JSON, in a worker."""
    state = _state(request)
    run = state.source.current
    return _json(await state.pool.run(lambda deadline: _encode(compute(run, deadline))))


def compute_plainly(key: tuple[ServedRun, int, bool], users: Sequence[str]) -> list[bytes]:
    """Answers to plain requests, as JSON."""
    run, k, include_seen = key
    return [_encode(one) for one in answers.recommend_plainly(run, users, k, include_seen)]


def _encode(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


@router.post("/recommend", response_model=RecommendAnswer, tags=["recommendations"])
async def recommend(request: Request, body: RecommendRequest) -> Response:
    """Recommend items to users of the dataset, and for histories."""
    state = _state(request)
    k = answers.check_limits(body, state.settings.limits)
    run = state.source.current
    if answers.is_plain(body) and body.users[0] in run.recommender.users:
        answer = _json(await state.plain.run((run, k, body.include_seen), body.users[0]))
        state.metrics.lists.inc()
        return answer
    answer = await _answer(request, lambda run, deadline: answers.recommend(run, body, k, deadline))
    state.metrics.lists.inc(len(body.users) + len(body.histories))
    return answer


@router.get("/similar/{item:path}", response_model=SimilarAnswer, tags=["recommendations"])
async def similar(
    request: Request,
    item: ItemId,
    k: Annotated[int | None, Query(ge=1, description=K_DESCRIPTION)] = None,
    where: Annotated[
        list[str] | None,
        Query(description="COLUMN=VALUE; may be repeated.", examples=["category=lamps"]),
    ] = None,
) -> Response:
    """List the items most similar to an item, by the model's own measure."""
    length = answers.check_k(k, _state(request).settings.limits)
    values = _parse_where(where or [])
    return await _answer(request, lambda run, _: answers.find_similar(run, item, length, values))


@router.get("/items", response_model=ItemsAnswer, tags=["catalog"])
async def search_items(request: Request, query: Text = "", limit: Found = 20) -> Response:
    """Search items whose title or id has all words of a query, the most popular ones first."""

    def compute(run: ServedRun, deadline: Deadline) -> dict[str, Any]:
        return {"items": [run.describe_item(at) for at in run.search.find_items(query, limit)]}

    return await _answer(request, compute)


@router.get("/items/{item:path}", response_model=ItemAnswer, tags=["catalog"])
async def show_item(request: Request, item: ItemId) -> Response:
    """Show an item: title, picture and its row of the item table."""

    def compute(run: ServedRun, deadline: Deadline) -> dict[str, Any]:
        index = answers.find_index(run.recommender.items, item)
        row = run.columns.row(index, named=True) if run.columns.width else {}
        columns = {name: _json_value(value) for name, value in row.items()}
        n_users = int(run.n_users_of_item[index])
        return {**run.describe_item(index), "n_users": n_users, "columns": columns}

    return await _answer(request, compute)


@router.get("/users", response_model=UsersAnswer, tags=["catalog"])
async def search_users(request: Request, query: Text = "", limit: Found = 20) -> Response:
    """Search users by id."""

    def compute(run: ServedRun, deadline: Deadline) -> dict[str, Any]:
        ids = run.recommender.users
        return {"users": [ids[at] for at in run.search.find_users(query, limit)]}

    return await _answer(request, compute)


@router.get("/users/{user:path}", response_model=UserAnswer, tags=["catalog"])
async def show_user(
    request: Request,
    user: UserId,
    limit: Annotated[int, Query(ge=1, le=MAX_HISTORY, description="Items at most.")] = 100,
) -> Response:
    """Show the history of a user."""

    def compute(run: ServedRun, deadline: Deadline) -> dict[str, Any]:
        index = answers.find_index(run.recommender.users, user)
        items = run.recommender.known[index].indices.tolist()
        shown = [run.describe_item(at) for at in items[:limit]]
        return {"user": user, "n_items": len(items), "history": shown}

    return await _answer(request, compute)


@router.get(
    "/images/{item:path}",
    response_class=FileResponse,
    tags=["catalog"],
    responses={200: {"content": {"image/*": {}}}},
)
async def show_image(request: Request, item: ItemId) -> Response:
    """Send the picture of an item."""
    pictures = _state(request).source.current.pictures
    found = await asyncio.to_thread(pictures.find, item)
    if found is None:
        raise UnknownIdError("the item has no picture")
    path, media_type = found
    return FileResponse(path, media_type=media_type, headers=KEEP_A_DAY)


@router.get("/info", response_model=InfoAnswer, tags=["server"])
async def show_info(request: Request) -> Response:
    """Describe the served run and what it can do."""
    state = _state(request)
    limits = state.settings.limits
    more = {"max_k": limits.max_k, "max_reasons": limits.max_reasons}
    return _json(_encode({**state.source.current.info, **more}))


@router.get("/health", response_model=HealthAnswer, tags=["server"])
async def show_health(request: Request) -> Response:
    """Say whether the server answers. It needs no token, and then says no more than that."""
    source = _state(request).source
    is_authorized = request.scope["is_authorized"]
    run = source.current.name if is_authorized else None
    error = source.error if is_authorized else None
    return _json(_encode({"status": "ok", "run": run, "reload_error": error}))


@router.get("/metrics", response_class=Response, tags=["server"])
async def show_metrics(request: Request) -> Response:
    """Give metrics in Prometheus' text format."""
    return Response(_state(request).metrics.to_text(), headers={"Content-Type": CONTENT_TYPE})


def _json_value(value: Any) -> Any:
    """A value of the item table; JSON has no infinite numbers."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _parse_where(texts: list[str]) -> dict[str, list[str]]:
    """Values by column. Raises UserError."""
    values: dict[str, list[str]] = {}
    for text in texts:
        column, mark, value = (part.strip() for part in text.partition("="))
        if not (column and mark and value):
            hint = "Give it as COLUMN=VALUE, such as category=lamps"
            raise UserError(f"where '{text}' is not of that form", hint=hint)
        values.setdefault(column, []).append(value)
    return values
