"""`ld4mrec recommend`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from ld4mrec_cli.cli.options import Device, Run
from ld4mrec_cli.utils.errors import UnknownIdError, UserError
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    import polars as pl

    from ld4mrec_cli.data.dataset import Ids
    from ld4mrec_cli.serving.recommender import RecommendationList, Recommender


class Format(StrEnum):
    """How recommendations are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


ENTRIES_PER_FRAME = 200_000
"""Entries that a Parquet export holds as Python values at a time."""
SUFFIXES = {
    ".json": Format.JSON,
    ".jsonl": Format.JSON,
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
}


def recommend(
    more_users: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Further users after --user.")
    ] = None,
    run: Run = None,
    user: Annotated[
        list[str] | None, typer.Option(help="User id; may be repeated.", show_default=False)
    ] = None,
    users_file: Annotated[
        Path | None, typer.Option(help="File with a user id per line.", show_default=False)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Every user of the dataset.")] = False,
    history: Annotated[
        str | None,
        typer.Option(
            help="Item ids, comma-separated, of someone the dataset does not know.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Items per user.")] = 20,
    format: Annotated[
        Format | None,
        typer.Option(help="Output format.", show_default="by the suffix of --out, else table"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write, instead of stdout.", show_default=False)
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also recommend items the user has had.")
    ] = False,
    device: Device = None,
) -> None:
    """Recommend items in the user's own ids, from the last run or the one named.

    Example: ld4mrec recommend --user 42 --k 20
    """
    if more_users and not user:
        raise UserError(f"unexpected argument '{more_users[0]}'", hint="Name users with --user ID")
    _exactly_one(user, users_file, all, history)
    chosen = format or SUFFIXES.get(out.suffix if out else "", Format.TABLE)
    if chosen is Format.PARQUET and out is None:
        raise UserError("Parquet is not for a terminal", hint="Name a file with --out")

    from ld4mrec_cli.runs.paths import latest_run
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.serving.recommender import Recommender
    from ld4mrec_cli.utils.device import resolve_device
    from ld4mrec_cli.utils.distributed import init_distributed

    with init_distributed() as group:
        opened = RunDirectory.open(run or Path(group.broadcast(str(latest_run()))))
        recommender = Recommender(opened, group.device_for(resolve_device(device or "auto")))
        if history is not None:
            items = parse_history(history, recommender)
            lists = iter([recommender.for_history(items, k, include_seen=include_seen)])
        else:
            given = [*(user or ()), *(more_users or ())]
            users = recommender.users.ids if all else _users(users_file, given, recommender)
            batch = opened.config.evaluation.batch_size
            lists = recommender.for_users(
                users, k, include_seen=include_seen, batch_size=batch, group=group
            )
        if group.is_main_process:
            write(lists, chosen, out)
        else:
            list(lists)  # this process scores its share; the lists are the writer's


def _exactly_one(
    user: list[str] | None, users_file: Path | None, everyone: bool, history: str | None
) -> None:
    given = [bool(user), users_file is not None, everyone, history is not None]
    if sum(given) != 1:
        what = "nobody to recommend to" if not any(given) else "several ways to name users"
        raise UserError(what, hint="Give one of --user, --users-file, --all, --history")


def _users(path: Path | None, given: list[str], recommender: Recommender) -> list[str]:
    """The users asked for, each once, in order. Raises UserError where the file cannot be read or names a stranger."""
    if path is None:
        return list(dict.fromkeys(_as_known(user, recommender.users) for user in given))
    users: dict[str, None] = {}
    for number, line in enumerate(_lines(path), start=1):
        user = _as_known(line, recommender.users)
        if not user.strip() and user not in recommender.users:
            continue
        if user not in recommender.users:
            raise UnknownIdError(
                f"unknown user '{printable(user.strip())}'", where=path, line=number
            )
        users[user] = None
    if not users:
        raise UserError("names no user", where=path)
    return list(users)


def _lines(path: Path) -> list[str]:
    """Lines of a text file, ended by a newline alone: an id may hold any other character that Unicode breaks at."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError("no such file", where=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", where=path) from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def _as_known(given: str, ids: Ids) -> str:
    """The id as it was given or, where only that is known, without the spaces around it."""
    stripped = given.strip()
    return stripped if given not in ids and stripped in ids else given


def parse_history(text: str, recommender: Recommender) -> list[str]:
    """Split a comma-separated history; ids with commas are quoted as in CSV, or given alone. Raises UserError."""
    if text in recommender.items:
        return [text]
    try:
        fields = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise UserError(
            f"--history cannot be read ({error})", hint="Give item ids, comma-separated"
        ) from None
    items = [_as_known(field, recommender.items) for field in fields]
    items = [item for item in items if item.strip() or item in recommender.items]
    if not items:
        raise UserError("--history names no item", hint="Give item ids, comma-separated")
    return items


def write(lists: Iterable[RecommendationList], format: Format, out: Path | None) -> None:
    """Write lists to a file (atomically) or to stdout, as they are made."""
    from ld4mrec_cli.utils.files import atomic_file

    if out is None:
        _write_text(lists, format, sys.stdout)
        return
    with atomic_file(out) as temporary:
        if format is Format.PARQUET:
            _write_parquet(lists, temporary)
            return
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            _write_text(lists, format, stream)


def _write_text(lists: Iterable[RecommendationList], format: Format, stream: TextIO) -> None:
    if format is Format.JSON:
        for one in lists:
            stream.write(json.dumps(_as_object(one), ensure_ascii=False) + "\n")
    elif format is Format.CSV:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["user", "rank", "item", "score"])
        for one in lists:
            writer.writerows(
                [row["user"], row["rank"], row["item"], f"{row['score']:.7g}"] for row in _rows(one)
            )
    else:
        _write_table(lists, stream)


def _write_table(lists: Iterable[RecommendationList], stream: TextIO) -> None:
    for number, one in enumerate(lists):
        stream.write("\n" if number else "")
        stream.write(
            f"user {printable(one.user)}\n" if one.user is not None else "for the history given\n"
        )
        items = [printable(entry.item) for entry in one.items]
        width = max(map(len, items), default=4)
        for rank, (item, entry) in enumerate(zip(items, one.items, strict=True), start=1):
            line = (
                f"{rank:4d}  {item:<{width}}  {entry.score:10.4f}  {printable(entry.title or '')}"
            )
            stream.write(line.rstrip() + "\n")


def _write_parquet(lists: Iterable[RecommendationList], path: Path) -> None:
    import polars as pl

    pl.concat(list(_frames(lists))).write_parquet(path)


def _frames(lists: Iterable[RecommendationList]) -> Iterator[pl.DataFrame]:
    """The lists as frames of about ENTRIES_PER_FRAME rows, at least one frame."""
    pending: list[RecommendationList] = []
    n_entries = 0
    for one in lists:
        pending.append(one)
        n_entries += len(one.items)
        if n_entries >= ENTRIES_PER_FRAME:
            yield _frame(pending)
            pending, n_entries = [], 0
    yield _frame(pending)


def _frame(lists: Sequence[RecommendationList]) -> pl.DataFrame:
    """One row per entry, built by column: a dict per row would cost many times the result."""
    import polars as pl

    entries = [entry for one in lists for entry in one.items]
    schema = {
        "user": pl.String,
        "rank": pl.UInt32,
        "item": pl.String,
        "score": pl.Float32,
        "title": pl.String,
    }
    columns: dict[str, Sequence[Any]] = {
        "user": [one.user for one in lists for _ in one.items],
        "rank": [rank for one in lists for rank in range(1, len(one.items) + 1)],
        "item": [entry.item for entry in entries],
        "score": [entry.score for entry in entries],
        "title": [entry.title for entry in entries],
    }
    return pl.DataFrame(columns, schema=schema)


def _rows(one: RecommendationList) -> Iterator[dict[str, Any]]:
    for rank, entry in enumerate(one.items, start=1):
        yield {
            "user": one.user,
            "rank": rank,
            "item": entry.item,
            "score": entry.score,
            "title": entry.title,
        }


def _as_object(one: RecommendationList) -> dict[str, Any]:
    items = [
        {"item": entry.item, "score": entry.score} | ({"title": entry.title} if entry.title else {})
        for entry in one.items
    ]
    return {"user": one.user, "items": items}
