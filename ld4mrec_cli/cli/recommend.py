"""`ld4mrec recommend`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from ld4mrec_cli.cli.options import Device, Run
from ld4mrec_cli.errors import UnknownIdError, UserError

if TYPE_CHECKING:
    from ld4mrec_cli.serving.recommender import RecommendationList, Recommender


class Format(StrEnum):
    """How recommendations are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


SUFFIXES = {".json": Format.JSON, ".jsonl": Format.JSON, ".csv": Format.CSV, ".parquet": Format.PARQUET}


def recommend(
    more_users: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Further users after --user.")
    ] = None,
    run: Run = None,
    user: Annotated[list[str] | None, typer.Option(help="User id; may be repeated.", show_default=False)] = None,
    users_file: Annotated[Path | None, typer.Option(help="File with a user id per line.", show_default=False)] = None,
    all: Annotated[bool, typer.Option("--all", help="Every user of the dataset.")] = False,
    history: Annotated[
        str | None,
        typer.Option(help="Item ids, comma-separated, of someone the dataset does not know.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Items per user.")] = 20,
    format: Annotated[
        Format | None, typer.Option(help="Output format.", show_default="by the suffix of --out, else table")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write, instead of stdout.", show_default=False)] = None,
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

    from ld4mrec_cli import workflow
    from ld4mrec_cli.model.device import resolve_device
    from ld4mrec_cli.serving.recommender import Recommender
    from ld4mrec_cli.training.checkpoint import RunDirectory

    opened = RunDirectory.open(run or workflow.latest_run())
    recommender = Recommender(opened, resolve_device(device or "auto"))
    if history is not None:
        lists: Iterable[RecommendationList] = [
            recommender.for_history(parse_history(history, recommender), k, include_seen=include_seen)
        ]
    else:
        users = recommender.users.ids if all else _users(users_file, [*(user or ()), *(more_users or ())], recommender)
        batch = opened.config.evaluation.batch_size
        lists = recommender.for_users(users, k, include_seen=include_seen, batch_size=batch)
    write(lists, chosen, out)


def _exactly_one(user: list[str] | None, users_file: Path | None, everyone: bool, history: str | None) -> None:
    given = [bool(user), users_file is not None, everyone, history is not None]
    if sum(given) != 1:
        what = "nobody to recommend to" if not any(given) else "several ways to name users"
        raise UserError(what, hint="Give one of --user, --users-file, --all, --history")


def _users(path: Path | None, given: list[str], recommender: Recommender) -> list[str]:
    """The users asked for, each once, in order."""
    if path is None:
        return list(dict.fromkeys(given))
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError("no such file", where=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", where=path) from None
    users: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        user = line.strip()
        if user and user not in recommender.users:
            raise UnknownIdError(f"unknown user '{user}'", where=path, line=number)
        if user:
            users[user] = None
    if not users:
        raise UserError("names no user", where=path)
    return list(users)


def parse_history(text: str, recommender: Recommender) -> list[str]:
    """Split a comma-separated history; ids with commas are quoted as in CSV, or given alone."""
    if text in recommender.items:
        return [text]
    items = [item.strip() for item in next(csv.reader([text], skipinitialspace=True), [])]
    items = [item for item in items if item]
    if not items:
        raise UserError("--history names no item", hint="Give item ids, comma-separated")
    return items


def write(lists: Iterable[RecommendationList], format: Format, out: Path | None) -> None:
    """Write lists to a file (atomically) or to stdout, as they are made."""
    from ld4mrec_cli.files import atomic_file

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
            writer.writerows([row["user"], row["rank"], row["item"], f"{row['score']:.7g}"] for row in _rows(one))
    else:
        _write_table(lists, stream)


def _write_table(lists: Iterable[RecommendationList], stream: TextIO) -> None:
    for number, one in enumerate(lists):
        stream.write("\n" if number else "")
        stream.write(f"user {one.user}\n" if one.user is not None else "for the history given\n")
        width = max((len(entry.item) for entry in one.items), default=4)
        for rank, entry in enumerate(one.items, start=1):
            line = f"{rank:4d}  {entry.item:<{width}}  {entry.score:10.4f}  {entry.title or ''}"
            stream.write(line.rstrip() + "\n")


def _write_parquet(lists: Iterable[RecommendationList], path: Path) -> None:
    import polars as pl

    schema = {"user": pl.String, "rank": pl.UInt32, "item": pl.String, "score": pl.Float32, "title": pl.String}
    pl.DataFrame([row for one in lists for row in _rows(one)], schema=schema).write_parquet(path)


def _rows(one: RecommendationList) -> Iterator[dict[str, Any]]:
    for rank, entry in enumerate(one.items, start=1):
        yield {"user": one.user, "rank": rank, "item": entry.item, "score": entry.score, "title": entry.title}


def _as_object(one: RecommendationList) -> dict[str, Any]:
    items = [
        {"item": entry.item, "score": entry.score} | ({"title": entry.title} if entry.title else {})
        for entry in one.items
    ]
    return {"user": one.user, "items": items}
