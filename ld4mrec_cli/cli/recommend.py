"""`ld4mrec recommend`."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ld4mrec_cli.cli.list_writer import USER_LISTS, write_lists
from ld4mrec_cli.cli.options import (
    LIST_FORMATS,
    Device,
    ItemsFile,
    ListFormat,
    ListOut,
    Run,
    Threads,
    Where,
)
from ld4mrec_cli.cli.output import parse_output
from ld4mrec_cli.cli.selection import FilterFlags, UserFlags, make_filters, make_lists, note_popular
from ld4mrec_cli.utils.errors import UserError


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
    history: Annotated[
        str | None,
        typer.Option(
            help="Item ids, comma-separated, of a user who is not in the dataset; the latest last.",
            show_default=False,
        ),
    ] = None,
    histories_file: Annotated[
        Path | None,
        typer.Option(
            help="Table with the columns user and item, and maybe weight and timestamp: new users, "
            "and newer purchases of known ones.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            help="Table with the columns user and item: rank these items for these users.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    splits: Annotated[
        KnownChoice,
        typer.Option(help="Interactions that are known: all to serve, train as evaluate ranks."),
    ] = KnownChoice.ALL,
    items_file: ItemsFile = None,
    exclude_file: Annotated[
        Path | None,
        typer.Option(
            help="Not these items; in a table with the columns user and item, not for that user.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    where: Where = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Skip unknown users and items, and say how many.")
    ] = False,
    reasons: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Name the N items of the history that spoke most for each entry, with their "
            "shares in the score.",
            show_default=False,
        ),
    ] = 0,
    k: Annotated[
        int | None,
        typer.Option(min=1, help="Items per user.", show_default="20; all with --candidates"),
    ] = None,
    format: ListFormat = None,
    out: ListOut = None,
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

    Example: ld4mrec recommend --all --items-file stock.csv --where category=shoes --out mail.csv

    Example: ld4mrec recommend --user 42 --reasons 2 --format json

    Example: ld4mrec recommend --histories-file today.csv --skip-unknown --out today.parquet
    """
    if more_users and not user:
        raise UserError(f"unexpected argument '{more_users[0]}'", hint="Name users with --user ID")
    ids = [*(user or ()), *(more_users or ())]
    users = UserFlags(ids, users_file, all, history, histories_file, candidates, skip_unknown)
    filters = FilterFlags(items_file, exclude_file, where or ())
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
        allowed = make_filters(
            filters, recommender, group, has_new_users=histories_file is not None
        )
        lists = make_lists(users, recommender, allowed, k, include_seen, reasons, group)
        if group.is_main_process:
            layout = replace(USER_LISTS, has_reasons=reasons > 0)
            write_lists(note_popular(lists), output, layout)
        else:
            list(lists)  # this process scores its share; the main process writes all lists
