"""`ld4mrec inspect`."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ld4mrec_cli.cli.options import LAYOUT_NAMES, Format, Overrides, format_option, read_config
from ld4mrec_cli.cli.output import Output, parse_output
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import ConfigError, UserError
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    from ld4mrec_cli.data.inspect.summary import Inspection, ItemPreview


FORMATS = (Format.TABLE, Format.JSON, Format.HTML)
RAW_SETTINGS = (
    "prepare.format",
    "prepare.interactions",
    "prepare.items",
    "prepare.columns",
    "prepare.event_weights",
    "prepare.date_format",
    "prepare.text_fields",
    "prepare.on_error",
    "prepare.max_errors",
)
"""Settings of the reading of raw files; the others have no effect here."""

MAX_TITLE_LENGTH = 80


def inspect(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Raw directory or dataset directory.", show_default=False
        ),
    ],
    format: Annotated[
        Format | None,
        format_option(*FORMATS, default="by the suffix of --out, else table"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write, instead of stdout.", show_default=False)
    ] = None,
    raw_format: Annotated[
        str | None,
        typer.Option(help=f"Layout of raw files: {LAYOUT_NAMES}.", show_default="auto"),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Show the contents of raw files or a dataset directory.

    Example: ld4mrec inspect amazon_baby/ --out baby.html
    """
    output = parse_output(format, out, FORMATS)
    options = _read_options(set_, raw_format)

    from ld4mrec_cli.data.dataset import is_dataset
    from ld4mrec_cli.data.inspect.inspection import inspect as inspect_directory

    if (set_ or raw_format) and is_dataset(directory):
        hint = "Leave out --set and --raw-format"
        raise UserError(
            "is a dataset directory, which is read in one way", where=directory, hint=hint
        )
    inspection = inspect_directory(directory, options)
    if output == Output(Format.TABLE):
        print_inspection(inspection)  # to the console itself, which may be a terminal
        return
    with output.open_text() as stream:
        stream.write(_render(inspection, output.format))


def _read_options(overrides: Sequence[str] | None, raw_format: str | None) -> PrepareConfig:
    """Return the options for raw files. Raises ConfigError for a setting without effect."""
    options = read_config(None, overrides, {"prepare.format": raw_format}).prepare
    for override in overrides or ():
        key = override.partition("=")[0].strip()
        if not key.startswith(RAW_SETTINGS):
            raise ConfigError(
                f"{key} does not act on inspect", hint=f"Those that do: {', '.join(RAW_SETTINGS)}"
            )
    return options


def _render(inspection: Inspection, format: Format) -> str:
    if format is Format.JSON:
        return inspection.model_dump_json() + "\n"
    if format is Format.HTML:
        from ld4mrec_cli.data.inspect.page import render_page

        return render_page(inspection)
    with redirect_stdout(io.StringIO()) as stream:
        print_inspection(inspection)
    return stream.getvalue()


def print_inspection(inspection: Inspection) -> None:
    """Print an inspection as tables."""
    from ld4mrec_cli.cli.console import print_table
    from ld4mrec_cli.data.inspect import tables

    _print_head(inspection)
    blocks = [
        (
            tables.make_degree_table(inspection.user_degrees, inspection.item_degrees),
            tables.describe_core(inspection.core),
        ),
        (
            tables.make_split_table(inspection.splits) if inspection.splits else None,
            tables.describe_cold(inspection.cold),
        ),
        (
            tables.make_rating_table(inspection.ratings) if inspection.ratings else None,
            tables.describe_ratings(inspection.ratings),
        ),
        (tables.make_event_table(inspection.events) if inspection.events else None, ""),
        (
            tables.make_weight_table(inspection.weights) if inspection.weights else None,
            tables.describe_ratings(inspection.weights),
        ),
        (tables.make_modality_table(inspection.modalities) if inspection.modalities else None, ""),
        (tables.make_text_table(inspection.texts) if inspection.texts else None, ""),
    ]
    for table, line in blocks:
        if table is not None:
            _print("")
            print_table(table)
            _print(*filter(None, [line]))
    _print_items("most popular items:", inspection.popular_items)
    _print_items("random sample of the other items:", inspection.sample_items)


def _print_head(inspection: Inspection) -> None:
    from ld4mrec_cli.data.inspect.tables import describe_source, describe_times

    counts = inspection.counts
    _print(
        f"{inspection.name}: {describe_source(inspection)}",
        f"{counts.users:,} users, {counts.items:,} items, {counts.interactions:,} interactions, "
        f"density {counts.density:.4%}",
    )
    if inspection.hash:
        _print(f"SHA-256 {inspection.hash}")
    if counts.repeated_interactions:
        _print(f"repeated interactions: {counts.repeated_interactions:,}")
    if counts.items_without_interactions:
        _print(f"listed items without interactions: {counts.items_without_interactions:,}")
    _print(*(f"left out: {count:,} {reason}" for reason, count in inspection.notes.items()))
    if inspection.times:
        _print(describe_times(inspection.times))


def _print_items(heading: str, items: Sequence[ItemPreview]) -> None:
    if not items:
        return
    width = max(len(item.item) for item in items)
    _print("", heading)
    for item in items:
        title = textwrap.shorten(item.title or "", MAX_TITLE_LENGTH, placeholder=" …")
        _print(f"  {item.item:<{width}}  {item.interactions:>9,}  {title}".rstrip())


def _print(*lines: str) -> None:
    """Print lines, without the characters that control a terminal: titles are data."""
    from ld4mrec_cli.cli.console import stdout

    for line in lines:
        stdout().print(printable(line), markup=False)
