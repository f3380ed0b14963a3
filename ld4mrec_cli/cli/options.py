"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ld4mrec_cli.config import Config, load_config

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML configuration file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="Override one setting; may be repeated.", show_default=False
    ),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="auto")]
Run = Annotated[Path | None, typer.Option(help="Run directory.", show_default="runs/latest")]
Data = Annotated[
    Path | None, typer.Option(help="Dataset directory, where it is not at its place in training.", show_default=False)
]


def read_config(path: Path | None, overrides: Sequence[str] | None, flags: dict[str, Any]) -> Config:
    """Configuration from file, ``--set`` and flags, the later ones winning; a flag of None is not given."""
    given = [f"{key}={yaml.safe_dump(value).strip()}" for key, value in flags.items() if value is not None]
    return load_config(path, [*(overrides or ()), *given])
