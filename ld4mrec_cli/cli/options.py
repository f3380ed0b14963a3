"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ld4mrec_cli.config import Config, load_config

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
Data = Annotated[
    Path | None,
    typer.Option(
        help="Dataset directory, where it is not at its place in training.", show_default=False
    ),
]


def read_config(
    path: Path | None,
    overrides: Sequence[str] | None,
    flags: Mapping[str, Any],
    base: Config | None = None,
) -> Config:
    """Configuration from file (or ``base``), ``--set`` and flags, the later ones winning; None is not given."""
    return load_config(path, overrides or (), flags, base)
