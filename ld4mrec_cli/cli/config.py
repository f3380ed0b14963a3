"""`ld4mrec config`."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from ld4mrec_cli.cli.options import ConfigFile, Overrides, read_config
from ld4mrec_cli.config import config_to_yaml
from ld4mrec_cli.config.reference import config_reference
from ld4mrec_cli.settings.base import Preset


def config(
    config: ConfigFile = None,
    set_: Overrides = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"One of {', '.join(get_args(Preset))}.", show_default=False),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print the meaning of every setting.")
    ] = False,
) -> None:
    """Print the complete configuration, or explain it.

    Example: ld4mrec config --preset paper > paper.yaml
    """
    if reference:
        typer.echo(config_reference(), nl=False)
    else:
        typer.echo(config_to_yaml(read_config(config, set_, {"preset": preset})), nl=False)
