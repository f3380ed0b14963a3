"""`ld4mrec config`."""

from __future__ import annotations

from typing import Annotated

import typer

from ld4mrec_cli.cli.options import ConfigFile, Overrides, read_config
from ld4mrec_cli.config import config_to_yaml
from ld4mrec_cli.config.reference import config_reference


def config(
    config: ConfigFile = None,
    set_: Overrides = None,
    preset: Annotated[
        str | None, typer.Option(help="default or paper.", show_default=False)
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print what every setting means.")
    ] = False,
) -> None:
    """Print the complete configuration as YAML, or what every setting means.

    Example: ld4mrec config --preset paper > paper.yaml
    """
    if reference:
        typer.echo(config_reference(), nl=False)
    else:
        typer.echo(config_to_yaml(read_config(config, set_, {"preset": preset})), nl=False)
