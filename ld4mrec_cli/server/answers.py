"""From the body of a request to lists, by :mod:`ld4mrec_cli.serving`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ld4mrec_cli.data.dataset import UNKNOWN, Ids
from ld4mrec_cli.server.pool import Deadline
from ld4mrec_cli.server.schemas import DEFAULT_K, FilterSpec, History, RecommendRequest
from ld4mrec_cli.server.served_run import ServedRun
from ld4mrec_cli.server.settings import Limits
from ld4mrec_cli.serving.filters import Filters
from ld4mrec_cli.serving.ids import OnNote, find_known
from ld4mrec_cli.serving.lists import RecommendationList, RecommendedItem
from ld4mrec_cli.utils.errors import UnknownIdError, UserError
from ld4mrec_cli.utils.text import printable

BATCH_SIZE = 16
"""Lists that are computed between two looks at the time."""
UNNAMED = "\0history "
"""Start of the names of histories without one; no raw id has it."""


def check_limits(request: RecommendRequest, limits: Limits) -> int:
    """Length of the lists of a request. Raises UserError if it asks for too much, or for nobody."""
    k = check_k(request.k, limits)
    check_at_most("reasons", request.reasons, limits.max_reasons)
    n_lists = len(request.users) + len(request.histories)
    check_at_most("users and histories", n_lists, limits.max_lists)
    if not n_lists:
        raise UserError("no users given", hint="Give users, or histories")
    names = [history.user for history in request.histories if history.user is not None]
    repeated = next((name for n, name in enumerate(names) if name in names[:n]), None)
    if repeated is not None:
        raise UserError(f"user '{printable(repeated)}' has two histories", hint="Join them")
    return k


def check_k(k: int | None, limits: Limits) -> int:
    """The length of a list, or its default. Raises UserError above the limit."""
    if k is None:
        return min(DEFAULT_K, limits.max_k)
    check_at_most("k", k, limits.max_k)
    return k


def check_at_most(name: str, value: int, limit: int) -> None:
    """Raise UserError for a value above its limit."""
    if value > limit:
        raise UserError(f"{name}: {value:,} is above this server's limit of {limit:,}")


def recommend(
    run: ServedRun, request: RecommendRequest, k: int, deadline: Deadline
) -> dict[str, Any]:
    """Lists of ``k`` items for the users, then for the histories, as :class:`RecommendAnswer`.

    Raises:
        UserError: an id is unknown, a filter leaves nothing, or the model cannot do it.
        TooSlowError: the time is up.
    """
    notes: list[str] = []
    filters = _make_filters(run, request.filters, notes.append)
    lists = []
    ranked = chain(
        _for_users(run, request, k, filters, notes.append),
        _for_histories(run, request, k, filters, notes.append),
    )
    for found in ranked:
        deadline.check()
        lists.append(_describe_list(run, found))
    return {"run": run.name, "lists": lists, "notes": notes}


def is_plain(request: RecommendRequest) -> bool:
    """Whether a request is for one user's list as it is; such ones are computed together."""
    is_single = len(request.users) == 1 and not request.histories
    return is_single and not request.reasons and request.filters == FilterSpec()


def recommend_plainly(
    run: ServedRun, users: Sequence[str], k: int, include_seen: bool
) -> Iterator[dict[str, Any]]:
    """The answer of :func:`recommend` to each of some plain requests of known users."""
    lists = run.recommender.for_users(users, k, include_seen=include_seen)
    for found in lists:
        yield {"run": run.name, "lists": [_describe_list(run, found)], "notes": []}


def find_similar(
    run: ServedRun, item: str, k: int, where: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Items similar to one, as :class:`SimilarAnswer`. Raises UserError."""
    index = find_index(run.recommender.items, item)
    filters = run.recommender.filters.where(where) if where else None
    found = run.recommender.similar(item, k, filters=filters)
    entries = [_describe_entry(run, entry) for entry in found.items]
    why = "the model relates no item to it, or the filters leave none"
    return {**run.describe_item(index), "items": entries, "notes": [] if entries else [why]}


def find_index(ids: Ids, raw: str) -> int:
    """Index of a raw id.

    The nearest known id is not looked for: that takes longer than a list, and a shop asks for
    unknown customers all the time.

    Raises:
        UnknownIdError: it is unknown.
    """
    index = int(ids.find([raw])[0])
    if index == UNKNOWN:
        raise UnknownIdError(f"unknown {ids.kind} '{printable(raw)}'")
    return index


def _make_filters(run: ServedRun, spec: FilterSpec, on_note: OnNote) -> Filters:
    filters = run.recommender.filters
    if spec.items is not None:
        filters = filters.only(spec.items, lambda text: on_note(f"filters.items: {text}"))
    if spec.where:
        filters = filters.where(_check_where(spec.where))
    if spec.exclude:
        filters = filters.without(spec.exclude, lambda text: on_note(f"filters.exclude: {text}"))
    if spec.exclude_for:
        pairs = [(user, item) for user, items in spec.exclude_for.items() for item in items]
        users, items = [user for user, _ in pairs], [item for _, item in pairs]
        filters = filters.without_for(
            users, items, lambda text: on_note(f"filters.exclude_for: {text}")
        )
    return filters


def _check_where(values: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    empty = next((name for name, wanted in values.items() if not wanted), None)
    if empty is not None:
        raise UserError(f"filters.where: column '{printable(empty)}' has no value")
    return values


def _for_users(
    run: ServedRun, request: RecommendRequest, k: int, filters: Filters, on_note: OnNote
) -> Iterator[RecommendationList]:
    ids, users = run.recommender.users, request.users
    if not users:
        return iter(())
    if request.skip_unknown:
        found = find_known(users, ids, skip_unknown=True, on_note=on_note)
        users = [user for user, index in zip(users, found, strict=True) if index != UNKNOWN]
    else:
        for user in users:
            find_index(ids, user)
    return run.recommender.for_users(
        users,
        k,
        include_seen=request.include_seen,
        filters=filters,
        reasons=request.reasons,
        batch_size=BATCH_SIZE,
    )


def _for_histories(
    run: ServedRun, request: RecommendRequest, k: int, filters: Filters, on_note: OnNote
) -> Iterator[RecommendationList]:
    if not request.histories:
        return iter(())
    if not request.skip_unknown:
        for history in request.histories:
            for item in history.items:
                find_index(run.recommender.items, item)
    histories = dict(_name(n, history) for n, history in enumerate(request.histories))
    found = run.recommender.for_histories(
        histories,
        k,
        skip_unknown=request.skip_unknown,
        include_seen=request.include_seen,
        filters=filters,
        reasons=request.reasons,
        batch_size=BATCH_SIZE,
        on_note=on_note,
    )
    return _in_order(found, list(histories))


def _in_order(
    found: Iterator[RecommendationList], names: Sequence[str]
) -> Iterator[RecommendationList]:
    """The lists in the order of the request; empty histories come last in ``found``."""
    waiting: dict[str | None, RecommendationList] = {}
    at = 0
    for ranked in found:
        waiting[ranked.user] = ranked
        while at < len(names) and names[at] in waiting:
            yield waiting.pop(names[at])
            at += 1
    yield from (waiting[name] for name in names[at:] if name in waiting)


def _name(n: int, history: History) -> tuple[str, list[str]]:
    return (f"{UNNAMED}{n}" if history.user is None else history.user), history.items


def _describe_list(run: ServedRun, found: RecommendationList) -> dict[str, Any]:
    is_unnamed = found.user is None or found.user.startswith(UNNAMED)
    return {
        "user": None if is_unnamed else found.user,
        "is_popular": found.is_popular,
        "items": [_describe_entry(run, entry) for entry in found.items],
    }


def _describe_entry(run: ServedRun, entry: RecommendedItem) -> dict[str, Any]:
    reasons = entry.reasons and [
        {"item": reason.item, "title": reason.title or None, "share": reason.share}
        for reason in entry.reasons
    ]
    return {
        "item": entry.item,
        "title": entry.title or None,
        "image": run.pictures.address(entry.item),
        "score": entry.score,
        "reasons": None if entry.reasons is None else list(reasons or ()),
    }
