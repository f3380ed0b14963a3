"""`ld4mrec inject-noise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ld4mrec_cli.data.noise.noise_types import NOISE_TYPES

TYPE_HELP = "; ".join(f"{noise.name}: {noise.description}" for noise in NOISE_TYPES.values()) + "."


def inject_noise(
    data: Annotated[Path, typer.Option(help="Dataset directory to copy.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Dataset directory to write.", show_default=False)],
    ratio: Annotated[
        float,
        typer.Option(help="Share of the training interactions, e.g. 0.1.", show_default=False),
    ],
    type: Annotated[str, typer.Option(help=TYPE_HELP)] = "random",
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing dataset directory.")
    ] = False,
) -> None:
    """Copy a dataset with noise in its training interactions.

    Validation and test stay as they are.

    Example: ld4mrec inject-noise --data data/tiktok --out data/noisy --type random --ratio 0.1
    """
    from ld4mrec_cli.data.noise.inject import inject_noise as inject

    report = inject(data, out, type, ratio, seed, overwrite=overwrite)
    typer.echo(
        f"{report['type']} noise, ratio {ratio:g}, seed {seed}: "
        f"added {report['added']:,} and removed {report['removed']:,} training interactions, "
        f"{report['train_before']:,} -> {report['train_after']:,}"
    )
    typer.echo("validation and test are unchanged")
    typer.echo(f"written to {out}")
