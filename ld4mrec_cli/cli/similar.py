"""`ld4mrec similar`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ld4mrec_cli.cli.console import log
from ld4mrec_cli.cli.list_writer import ITEM_LISTS, write_lists
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
from ld4mrec_cli.cli.selection import DEFAULT_K, FilterFlags, make_filters
from ld4mrec_cli.utils.errors import UserError

if TYPE_CHECKING:
    from ld4mrec_cli.serving.lists import SimilarItems


def similar(
    more_items: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Further items after --item.")
    ] = None,
    run: Run = None,
    item: Annotated[
        list[str] | None, typer.Option(help="Item id; may be repeated.", show_default=False)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Every item of the dataset.")] = False,
    items_file: ItemsFile = None,
    where: Where = None,
    k: Annotated[int, typer.Option(min=1, help="Similar items per item.")] = DEFAULT_K,
    format: ListFormat = None,
    out: ListOut = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """List the items most similar to an item.

    Uses the last run, unless --run names another. The similarity is the model's own: item-item
    weights, cosine of item vectors, or the scores for a history of that item alone.

    Example: ld4mrec similar --item lamp --k 5

    Example: ld4mrec similar --all --items-file stock.csv --out similar.parquet
    """
    if more_items and not item:
        raise UserError(f"unexpected argument '{more_items[0]}'", hint="Name items with --item ID")
    ids = [*(item or ()), *(more_items or ())]
    if bool(ids) == all:
        what = "both --item and --all are given" if all else "no item is given"
        raise UserError(what, hint="Give --item ID or --all")
    filters = FilterFlags(items_file, None, where or ())
    output = parse_output(format, out, LIST_FORMATS)

    from ld4mrec_cli.runs.paths import latest_run
    from ld4mrec_cli.serving.id_files import match_id
    from ld4mrec_cli.serving.recommender import Recommender
    from ld4mrec_cli.utils.distributed import SINGLE_PROCESS

    recommender = Recommender(run or latest_run(), device or "auto")
    catalog = recommender.items
    names = catalog.ids if all else list(dict.fromkeys(match_id(one, catalog) for one in ids))
    allowed = make_filters(filters, recommender, SINGLE_PROCESS)
    batch_size = recommender.run.config.evaluation.batch_size
    lists = recommender.for_items(names, k, filters=allowed, batch_size=batch_size)
    write_lists(_note_empty(lists), output, ITEM_LISTS)


def _note_empty(lists: Iterable[SimilarItems]) -> Iterator[SimilarItems]:
    """Pass lists on, and say at the end how many are empty."""
    n_lists = n_empty = 0
    for ranked in lists:
        n_lists += 1
        n_empty += not ranked.items
        yield ranked
    if n_empty:
        why = "the model relates no item to it, or the filters leave none"
        log(f"{n_empty:,} of {n_lists:,} items have no similar ones: {why}")
