"""`ld4mrec prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ld4mrec_cli.cli.options import LAYOUT_NAMES, ConfigFile, Overrides, read_config
from ld4mrec_cli.utils.errors import ConfigError

if TYPE_CHECKING:
    from ld4mrec_cli.data.prepare import Prepared


def prepare(
    raw: Annotated[Path, typer.Option(help="Directory with the raw files.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="Dataset directory to write.", show_default="data/NAME of --raw"),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help=f"Layout: {LAYOUT_NAMES}.", show_default="auto")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="auto, random, temporal, global-time, leave-one-out or given.",
            show_default="given labels, else random",
        ),
    ] = None,
    k_core: Annotated[
        int | None,
        typer.Option(
            help="Keep users and items with at least N interactions; 0 keeps all.",
            show_default="0 if given, else 5",
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
            help="What a table calls user, item, rating, timestamp, label or title; may be repeated.",
            show_default=False,
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

    Example: ld4mrec prepare --raw shop/ --column user=customer --column item=sku --min-rating 4
    """
    flags: dict[str, Any] = {"format": format, "split": split, "k_core": k_core, "seed": seed}
    flags |= {
        "on_error": on_error,
        "max_errors": max_errors,
        "min_rating": min_rating,
        "text_fields": text_field,
    }
    flags |= {f"columns.{name}": theirs for name, theirs in column_names(column or ()).items()}
    options = read_config(
        config, set_, {f"prepare.{key}": value for key, value in flags.items()}
    ).prepare

    from ld4mrec_cli.cli.console import preparation_progress
    from ld4mrec_cli.data.prepare import prepare as prepare_directory

    target = out or Path("data") / raw.resolve().name
    with preparation_progress() as show:
        prepared = prepare_directory(
            raw,
            target,
            options,
            overwrite=overwrite,
            on_read=lambda path, done, total: show(
                f"reading {path.name}", done, total, megabytes=True
            ),
            on_encoded=lambda modality, done, total: show(f"encoding {modality}", done, total),
        )
    print_summary(prepared, target)


def column_names(given: Sequence[str]) -> dict[str, str]:
    """Our name → the table's, of flags such as ``user=customer``.

    Raises:
        ConfigError: a flag is not of that form, or names one of ours again.
    """
    names: dict[str, str] = {}
    for flag in given:
        ours, _, theirs = (part.strip() for part in flag.partition("="))
        if not ours or not theirs:
            raise ConfigError(
                f"--column '{flag}' is not of the form NAME=COLUMN, such as user=customer"
            )
        if ours in names:
            raise ConfigError(f"--column names {ours} twice: '{names[ours]}' and '{theirs}'")
        names[ours] = theirs
    return names


def print_summary(prepared: Prepared, out: Path) -> None:
    """Print what a dataset directory holds."""
    from ld4mrec_cli.cli.console import log, print_table, stdout
    from ld4mrec_cli.utils.tables import Table

    schema = prepared.schema
    for fault in prepared.bad_lines:
        log(f"left out: {fault}")
    left_out = [f"left out: {count:,} {why}" for why, count in prepared.left_out.items()]
    console = stdout()
    console.print(
        f"{schema.name}: {schema.n_users:,} users, {schema.n_items:,} items, {schema.n_interactions:,} interactions, "
        f"density {schema.density:.4%}, {schema.split_method} split, {prepared.format} layout",
        markup=False,
    )
    for line in left_out:
        console.print(line, markup=False)
    rows = [
        [name, f"{s.interactions:,}", f"{s.users:,}", f"{s.items:,}"]
        for name, s in schema.splits.items()
    ]
    print_table(Table(["split", "interactions", "users", "items"], rows))
    if schema.modalities:
        features = [
            [
                name,
                f"{m.dim:,}",
                f"{m.items_with_feature / schema.n_items:.1%}",
                f"{schema.n_items - m.items_with_feature:,}",
            ]
            for name, m in schema.modalities.items()
        ]
        print_table(Table(["modality", "columns", "coverage", "imputed items"], features))
    else:
        console.print("no modality: the items have neither features nor text", markup=False)
    console.print(f"written to {out}", markup=False)
