"""`ld4mrec recommend`."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ld4mrec_cli.cli.list_writer import LIST_FORMATS, write_lists
from ld4mrec_cli.cli.options import Device, Format, Run, Threads, format_option
from ld4mrec_cli.cli.output import parse_output
from ld4mrec_cli.utils.errors import UnknownIdError, UserError
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    from ld4mrec_cli.data.dataset import Ids
    from ld4mrec_cli.serving.lists import RecommendationList
    from ld4mrec_cli.serving.recommender import Recommender


class KnownChoice(StrEnum):
    """Splits whose interactions are the history of the users."""

    ALL = "all"
    TRAIN = "train"
    TRAIN_VALID = "train+valid"


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
    splits: Annotated[
        KnownChoice,
        typer.Option(help="Interactions that are known: all for serving, train as evaluate ranks."),
    ] = KnownChoice.ALL,
    history: Annotated[
        str | None,
        typer.Option(
            help="Item ids, comma-separated, of a user who is not in the dataset.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Items per user.")] = 20,
    format: Annotated[
        Format | None,
        format_option(*LIST_FORMATS, default="by the suffix of --out, else table"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; - is stdout. .gz is compressed.", show_default="-"),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also recommend items of the user's history.")
    ] = False,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Recommend items in your own ids.

    Uses the last run, unless --run names another. What a user has had, in any split, is known to
    the model and is not recommended again.

    Example: ld4mrec recommend --user 42 --k 20
    """
    if more_users and not user:
        raise UserError(f"unexpected argument '{more_users[0]}'", hint="Name users with --user ID")
    _check_one_way(user, users_file, all, history)
    output = parse_output(format, out, LIST_FORMATS)

    from ld4mrec_cli.runs.paths import latest_run
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.serving.recommender import Recommender
    from ld4mrec_cli.utils.device import resolve_device
    from ld4mrec_cli.utils.distributed import init_distributed

    with init_distributed() as group:
        opened = RunDirectory.open(run or Path(group.broadcast(str(latest_run()))))
        chosen = group.device_for(resolve_device(device or "auto"))
        recommender = Recommender(opened, chosen, splits=splits.value)
        if history is not None:
            items = parse_history(history, recommender)
            lists = iter([recommender.for_history(items, k, include_seen=include_seen)])
        else:
            ids = [*(user or ()), *(more_users or ())]
            users = recommender.users.ids if all else _read_users(users_file, ids, recommender)
            batch = opened.config.evaluation.batch_size
            lists = recommender.for_users(
                users, k, include_seen=include_seen, batch_size=batch, group=group
            )
        if group.is_main_process:
            write_lists(_note_popular(lists), output)
        else:
            list(lists)  # this process scores its share; the main process writes all lists


def _check_one_way(
    user: list[str] | None, users_file: Path | None, everyone: bool, history: str | None
) -> None:
    """Raise UserError unless users are named in exactly one way."""
    n_ways = sum([bool(user), users_file is not None, everyone, history is not None])
    if n_ways != 1:
        what = "several ways to name users" if n_ways else "no users given"
        raise UserError(what, hint="Give one of --user, --users-file, --all, --history")


def _note_popular(lists: Iterable[RecommendationList]) -> Iterator[RecommendationList]:
    """Pass lists on, and say at the end how many of them are the most popular items."""
    from ld4mrec_cli.cli.console import log

    n_popular = n_lists = 0
    for ranked in lists:
        n_lists += 1
        n_popular += ranked.is_popular
        yield ranked
    if n_popular:
        subject = "the list is" if n_lists == 1 else f"{n_popular:,} of {n_lists:,} lists are"
        log(f"{subject} the most popular items: the model relates no item to the history")


def _read_users(path: Path | None, ids: list[str], recommender: Recommender) -> list[str]:
    """Users of the command line or of a file, each once, in order.

    Raises:
        UserError: the file cannot be read or names no user.
        UnknownIdError: the file names an unknown user.
    """
    if path is None:
        return list(dict.fromkeys(_match_id(user, recommender.users) for user in ids))
    users: dict[str, None] = {}
    for number, line in enumerate(_read_lines(path), start=1):
        user = _match_id(line, recommender.users)
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


def _read_lines(path: Path) -> list[str]:
    """Lines of a text file, split at newlines alone: ids may hold other Unicode line breaks."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError("no such file", where=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", where=path) from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def _match_id(text: str, ids: Ids) -> str:
    """The id as it stands or, if only that is known, without the spaces around it."""
    stripped = text.strip()
    return stripped if text not in ids and stripped in ids else text


def parse_history(text: str, recommender: Recommender) -> list[str]:
    """Split a comma-separated history; ids with commas are quoted as in CSV, or stand alone.

    Raises:
        UserError: the text is not CSV or names no item.
    """
    if text in recommender.items:
        return [text]
    hint = "Give item ids, comma-separated"
    try:
        fields = next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise UserError(f"--history cannot be read ({error})", hint=hint) from None
    items = [_match_id(field, recommender.items) for field in fields]
    items = [item for item in items if item.strip() or item in recommender.items]
    if not items:
        raise UserError("--history names no item", hint=hint)
    return items
