"""`ld4mrec prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ld4mrec_cli.cli.options import LAYOUT_NAMES, ConfigFile, Overrides, read_config
from ld4mrec_cli.utils.errors import ConfigError
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    from ld4mrec_cli.data.dataset import Schema
    from ld4mrec_cli.data.prepare import Prepared


def prepare(
    raw: Annotated[
        Path | None,
        typer.Option(
            help="Directory with the raw files, or a table.",
            metavar="DIR|FILE",
            show_default=False,
        ),
    ] = None,
    interactions: Annotated[
        Path | None,
        typer.Option(
            help="Table of the interactions: .csv, .tsv (or .gz of them), .parquet.",
            metavar="FILE",
            show_default="interactions.* in --raw",
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Table of the items.", metavar="FILE", show_default="items.* in --raw"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Dataset directory to write.", show_default="data/NAME of the raw files"),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help=f"Layout: {LAYOUT_NAMES}.", show_default="auto")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="auto, random, temporal, global-time, leave-one-out, given or none; k-fold and "
            "rolling make several datasets.",
            show_default="given labels, else random",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Datasets of --split k-fold or rolling, OUT/fold-1, ....",
            metavar="N",
            show_default="5",
        ),
    ] = None,
    k_core: Annotated[
        int | None,
        typer.Option(
            help="Keep users and items with at least N interactions; 0 keeps all.",
            show_default="0 if the split is given, else 5",
        ),
    ] = None,
    catalog: Annotated[
        str | None,
        typer.Option(
            help="interacted: items with interactions; all: those of the item table, too.",
            show_default="interacted",
        ),
    ] = None,
    min_rating: Annotated[
        float | None,
        typer.Option(help="Drop interactions rated below R.", metavar="R", show_default="keep all"),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN",
            help="Column of user, item, rating, timestamp, split, title, event or weight; of one "
            "table: interactions.user, items.item, ...; may be repeated.",
            show_default="usual names",
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EVENT=W,...",
            help="Weights of the types of events, such as view=1,buy=10; 0 leaves them out; "
            "may be repeated.",
            show_default=False,
        ),
    ] = None,
    date_format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Form of the times, such as '%d.%m.%Y %H:%M'.",
            show_default="numbers and ISO dates",
        ),
    ] = None,
    text_field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Item field for the text modality; may be repeated.",
            show_default="title, brand, categories, description",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of random splits.", show_default="0")
    ] = None,
    on_error: Annotated[
        str | None,
        typer.Option(
            help="Malformed lines: raise (an error) or skip (leave out and count).",
            show_default="raise",
        ),
    ] = None,
    max_errors: Annotated[
        int | None,
        typer.Option(help="With --on-error skip: more than N are an error.", show_default="100"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing dataset directory.")
    ] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
) -> None:
    """Turn raw logs and item content into a dataset directory.

    Example: ld4mrec prepare --raw amazon_baby/ --split random --k-core 5

    Example: ld4mrec prepare --interactions orders.csv --items products.csv --column user=customer

    Example: ld4mrec prepare --interactions log.csv --column event=type --weight view=1,buy=10

    Example: ld4mrec prepare --raw shop/ --split rolling --folds 4
    """
    flags = {
        "format": format,
        "interactions": interactions,
        "items": items,
        "split": split,
        "folds": folds,
        "k_core": k_core,
        "catalog": catalog,
        "min_rating": min_rating,
        "text_fields": text_field,
        "date_format": date_format,
        "seed": seed,
        "on_error": on_error,
        "max_errors": max_errors,
    }
    flags |= {f"columns.{name}": value for name, value in column_names(column or ()).items()}
    settings: dict[str, Any] = {f"prepare.{key}": value for key, value in flags.items()}
    options = read_config(config, set_, settings).prepare
    if weight:
        settings["prepare.event_weights"] = {**options.event_weights, **event_weights(weight)}
        options = read_config(config, set_, settings).prepare
    source = raw or options.interactions
    if source is None:
        hint = "Give --raw DIR, or --interactions FILE"
        raise ConfigError("no raw data is named", hint=hint)

    from ld4mrec_cli.cli.console import preparation_progress
    from ld4mrec_cli.data.prepare import default_dataset_path
    from ld4mrec_cli.data.prepare import prepare as prepare_directory

    target = out or default_dataset_path(source)
    with preparation_progress() as show:
        prepared = prepare_directory(
            source,
            target,
            options,
            overwrite=overwrite,
            on_read=lambda path, done, total: show(
                f"reading {path.name}", done, total, megabytes=True
            ),
            on_encoded=show,
        )
    print_summary(prepared, target)


def column_names(flags: Sequence[str]) -> dict[str, str]:
    """Column by our name, from flags such as ``user=customer`` or ``items.item=sku``.

    Raises:
        ConfigError: a flag is not of that form, or repeats one of our names.
    """
    columns: dict[str, str] = {}
    for flag in flags:
        name, _, column = (part.strip() for part in flag.partition("="))
        if not name or not column:
            raise ConfigError(
                f"--column '{flag}' is not of the form NAME=COLUMN, such as user=customer"
            )
        if name in columns:
            raise ConfigError(f"--column names {name} twice: '{columns[name]}' and '{column}'")
        columns[name] = column
    return columns


def event_weights(flags: Sequence[str]) -> dict[str, str]:
    """Weight by type of event, as text, from flags such as ``view=1,buy=10``.

    Raises:
        ConfigError: a flag is not of that form, or names an event twice.
    """
    weights: dict[str, str] = {}
    for flag in flags:
        for part in flag.split(","):
            event, mark, weight = (text.strip() for text in part.rpartition("="))
            if not (event and mark and weight):
                what = f"--weight '{flag}' is not of the form EVENT=W,..., such as view=1,buy=10"
                raise ConfigError(what, hint="Events with a comma: prepare.event_weights in YAML")
            if event in weights:
                raise ConfigError(f"--weight names {event} twice")
            weights[event] = weight
    return weights


def print_summary(prepared: Prepared, out: Path) -> None:
    """Print the size of a dataset, its splits and modalities, and what was left out."""
    from ld4mrec_cli.cli.console import log, print_table, stdout
    from ld4mrec_cli.utils.tables import Table

    schema = prepared.schema
    for line in prepared.bad_lines:
        log(f"left out: {line}")
    left_out = [f"left out: {count:,} {reason}" for reason, count in prepared.left_out.items()]
    n_folds = len(prepared.schemas)
    of = f" of {n_folds}" if n_folds > 1 else ""
    lines = [
        f"{schema.name}{of}: {schema.n_users:,} users, {schema.n_items:,} items, "
        f"{schema.n_interactions:,} interactions, density {schema.density:.4%}, "
        f"{schema.split_method} split, {prepared.format} layout",
        *left_out,
        *prepared.messages,
    ]
    for line in lines:
        stdout().print(printable(line), markup=False)
    rows = [
        [
            f"{one.name}, {name}" if n_folds > 1 else name,
            *map("{:,}".format, part.model_dump().values()),
        ]
        for one in prepared.schemas
        for name, part in one.splits.items()
    ]
    print_table(Table(["split", "interactions", "users", "items"], rows))
    if schema.modalities:
        columns = ["modality", "columns", "coverage", "imputed items"]
        print_table(Table(columns, _modality_rows(schema)))
    else:
        stdout().print("no modality: the items have neither features nor text", markup=False)
    stdout().print(f"written to {out}", markup=False)


def _modality_rows(schema: Schema) -> list[list[str]]:
    return [
        [
            name,
            f"{modality.dim:,}",
            f"{modality.items_with_feature / schema.n_items:.1%}",
            f"{schema.n_items - modality.items_with_feature:,}",
        ]
        for name, modality in schema.modalities.items()
    ]
