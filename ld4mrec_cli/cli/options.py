"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ld4mrec_cli.config import Config, load_config
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.settings.layouts import AUTO, LAYOUTS
from ld4mrec_cli.utils.errors import UserError
from ld4mrec_cli.utils.threads import configure_threads

MODEL_NAMES = ", ".join(MODELS)
LAYOUT_NAMES = ", ".join((AUTO, *LAYOUTS))


class Format(StrEnum):
    """Output formats; each command accepts some of them."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    HTML = "html"
    MARKDOWN = "markdown"


def format_option(*formats: Format, default: str | bool = True) -> Any:
    """The option ``--format`` of a command that writes ``formats``.

    ``default`` is the help's text for the default value; True shows the value itself.
    """
    names = [format.value for format in formats]
    return typer.Option(
        metavar=f"[{'|'.join(names)}]",
        help="Output format.",
        show_default=default,
        parser=partial(_parse_format, names),
    )


def _parse_format(names: Sequence[str], text: str) -> Format:
    if text not in names:
        raise typer.BadParameter(f"'{text}' is not one of {', '.join(names)}.")
    return Format(text)


LIST_FORMATS = (Format.TABLE, Format.JSON, Format.CSV, Format.TSV, Format.PARQUET)
"""Formats of lists of items."""
ListFormat = Annotated[
    Format | None, format_option(*LIST_FORMATS, default="by the suffix of --out, else table")
]
ListOut = Annotated[
    Path | None,
    typer.Option("--out", help="File to write; - is stdout. .gz is compressed.", show_default="-"),
]


def _configure_threads(n_threads: int | None) -> int | None:
    configure_threads(n_threads)
    return n_threads


ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML configuration file.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override one setting; may be repeated.",
        show_default=False,
    ),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="auto")]
Run = Annotated[Path | None, typer.Option(help="Run directory.", show_default="runs/latest")]
ItemsFile = Annotated[
    Path | None,
    typer.Option(
        help="Only these items: a table with the column item, or an id per line.",
        metavar="FILE",
        show_default=False,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=VALUE",
        help="Only items with this value in a column of the item table; may be repeated: "
        "values of one column are alternatives, all columns must fit.",
        show_default=False,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help=f"One of {MODEL_NAMES}.", show_default=next(iter(MODELS))),
]
TrainingData = Annotated[
    Path | None, typer.Option("--data", help="Dataset directory (data.path).", show_default=False)
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="CPU threads of the computation.",
        show_default="chosen by the libraries",
        callback=_configure_threads,
    ),
]
"""Acts while the command line is parsed, before a command starts to compute."""


def read_config(
    path: Path | None,
    overrides: Sequence[str] | None,
    flags: Mapping[str, Any],
    base: Config | None = None,
) -> Config:
    """Configuration from a file (or ``base``), then ``--set``, then flags; a flag of None is unset.

    Raises:
        ConfigError: see :func:`ld4mrec_cli.config.load_config`.
    """
    return load_config(path, overrides or (), flags, base)


def parse_integers(option: str, text: str, example: str) -> list[int]:
    """Parse comma-separated whole numbers. Raises UserError, which names the option."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"{option} '{text}' is not a list of whole numbers", hint=f"Give it as {example}"
        ) from None
