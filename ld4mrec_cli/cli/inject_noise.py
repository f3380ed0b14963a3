"""`ld4mrec inject-noise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inject_noise(
    data: Annotated[Path, typer.Option(help="Dataset directory to take.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Dataset directory to write.", show_default=False)],
    ratio: Annotated[
        float,
        typer.Option(help="Share of the training interactions, e.g. 0.1.", show_default=False),
    ],
    type: Annotated[str, typer.Option(help="Type of noise, e.g. flip; an unknown one lists all.")] = "random",
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing dataset directory.")
    ] = False,
) -> None:
    """Copy a dataset with noise in its training interactions.

    Validation and test stay as they are.

    Example: ld4mrec inject-noise --data data/tiktok --out data/tiktok-noise10 --type random --ratio 0.1
    """
    from ld4mrec_cli.data.injection import inject_noise as inject

    report = inject(data, out, type, ratio, seed, overwrite=overwrite)
    typer.echo(
        f"{report['type']} noise, ratio {ratio:g}, seed {seed}: added {report['added']:,} and removed "
        f"{report['removed']:,} training interactions, {report['train_before']:,} -> {report['train_after']:,}"
    )
    typer.echo("validation and test are unchanged")
    typer.echo(f"written to {out}")
