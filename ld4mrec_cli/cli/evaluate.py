"""`ld4mrec evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ld4mrec_cli.cli.evaluation import (
    EvaluatedSplit,
    Request,
    UnknownChoice,
    evaluate_foreign_lists,
    evaluate_one_run,
    read_extras,
)
from ld4mrec_cli.cli.evaluation_output import TABLE_FORMATS, parse_file
from ld4mrec_cli.cli.options import (
    LIST_FORMATS,
    Device,
    Format,
    Run,
    Threads,
    format_option,
    parse_integers,
)
from ld4mrec_cli.utils.errors import UserError


class MaskChoice(StrEnum):
    """Items that are excluded from the ranking."""

    TRAIN = "train"
    TRAIN_VALID = "train+valid"


def evaluate(
    run: Run = None,
    split: Annotated[EvaluatedSplit, typer.Option(help="Split to evaluate.")] = EvaluatedSplit.TEST,
    k: Annotated[
        str | None, typer.Option(help="Cutoffs, comma-separated.", show_default="5,10,20,50")
    ] = None,
    format: Annotated[Format, format_option(Format.TABLE, Format.JSON)] = Format.TABLE,
    mask: Annotated[
        MaskChoice | None,
        typer.Option(
            help="Items that are excluded from the ranking.", show_default="the run's, train"
        ),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option(
            help="Also write the lists that are measured: .csv, .tsv, .json, .parquet, .txt.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Dataset directory: moved since training, or newer data of the same catalog.",
            show_default="the run's",
        ),
    ] = None,
    on_unknown: Annotated[
        UnknownChoice | None,
        typer.Option(
            help="Users and items of newer data that the run does not know, or of --lists-from "
            "that the dataset does not.",
            show_default="error",
        ),
    ] = None,
    lists_from: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate lists of another tool in place of a run: a table with the columns user, "
            "item, and rank or score. Needs --data.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    per_user: Annotated[
        Path | None,
        typer.Option(
            help="Also write the metrics of each user: .csv, .tsv, .parquet.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    beyond: Annotated[
        bool, typer.Option("--beyond", help="Also measure novelty, diversity and serendipity.")
    ] = False,
    categories: Annotated[
        str | None,
        typer.Option(
            help="Also measure calibration, by this column of the item table.",
            metavar="COLUMN",
            show_default=False,
        ),
    ] = None,
    category_separator: Annotated[
        str | None,
        typer.Option(
            help="What separates the categories of an item in a text.",
            metavar="TEXT",
            show_default="|",
        ),
    ] = None,
    groups: Annotated[
        bool,
        typer.Option(
            "--groups", help="Also by groups: users by history, targets by popularity of the item."
        ),
    ] = False,
    user_groups: Annotated[
        Path | None,
        typer.Option(
            help="Table with the column user; each other column is a way to group, as --groups.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Evaluate a trained run, or the lists of another tool.

    The whole catalog is ranked. --data may name newer data of the same catalog; a refit is
    evaluated on nothing else.

    Example: ld4mrec evaluate --split test --k 10,20 --format json

    Example: ld4mrec evaluate --k 20 --lists lists.csv --per-user users.csv

    Example: ld4mrec evaluate --beyond --categories genres --groups

    Example: ld4mrec evaluate --lists-from other-tool.csv --data data/shop --on-unknown skip

    Example: ld4mrec evaluate --run runs/yesterday --data data/today --on-unknown skip
    """
    _check_options(split, mask, data, on_unknown)
    cutoffs = parse_cutoffs(k) if k is not None else None
    request = Request(
        split=split,
        changes={
            "k": cutoffs,
            # On the valid split, training items are masked whatever the run says.
            "mask": "train" if split is EvaluatedSplit.VALID else mask and mask.value,
        },
        data=data,
        on_unknown=on_unknown,
        per_user=None if per_user is None else parse_file("--per-user", per_user, TABLE_FORMATS),
        extras=read_extras(beyond, categories, category_separator, groups, user_groups),
    )
    if lists_from is None:
        output = None if lists is None else parse_file("--lists", lists, LIST_FORMATS)
        evaluate_one_run(request, run, output, device or "auto", format)
    else:
        if run is not None or lists is not None:
            name = "--run" if run is not None else "--lists"
            raise UserError(
                f"{name} does not go with --lists-from, which needs no run",
                hint="Leave one of them out",
            )
        evaluate_foreign_lists(request, lists_from, format)


def _check_options(
    split: EvaluatedSplit,
    mask: MaskChoice | None,
    data: Path | None,
    on_unknown: UnknownChoice | None,
) -> None:
    """Raise UserError for options that contradict each other."""
    if split is EvaluatedSplit.VALID and mask is MaskChoice.TRAIN_VALID:
        hint = "Leave out --mask: on the valid split, training items are masked"
        raise UserError(
            "--mask train+valid would leave out the very items that --split valid looks for",
            hint=hint,
        )
    if on_unknown is not None and data is None:
        raise UserError("--on-unknown is for newer data", hint="Name them with --data DIR")


def parse_cutoffs(text: str) -> tuple[int, ...]:
    """Parse ``5,10,20`` into ascending cutoffs. Raises UserError."""
    cutoffs = sorted(set(parse_integers("--k", text, "5,10,20")))
    if cutoffs[0] < 1:
        raise UserError(f"--k {cutoffs[0]} is below 1")
    return tuple(cutoffs)
