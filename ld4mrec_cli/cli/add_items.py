"""`ld4mrec add-items`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ld4mrec_cli.cli.console import log
from ld4mrec_cli.cli.options import Run, Threads
from ld4mrec_cli.utils.errors import UserError


def add_items(
    items: Annotated[
        Path,
        typer.Option(
            help="Table of the new items, as for prepare: .csv, .tsv (or .gz of them), .parquet.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    run: Run = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory to write.", show_default="runs/NAME-TIME")
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="Ready-made features of a modality: .parquet or .npz keyed by item, or .npy whose "
            "rows follow --items; may be repeated.",
            metavar="NAME=FILE",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder images/ with the new items' images, if the dataset's were encoded.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(
            help="Factor of the scores of new items; more brings them forward.",
            show_default="0.7, or that of an extended run",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Dataset directory, if it was moved since training.", show_default="the run's"
        ),
    ] = None,
    threads: Threads = None,
) -> None:
    """Extend a run by new items, by their content.

    The model is not trained again. A new item is scored by the known items whose content is most
    like its own, and for LD4MRec by a small head, too, which learns which content suits whom. The
    run that is written recommends the new items beside the others; the first run stays as it is.

    Example: ld4mrec add-items --run runs/shop --items new.csv --out runs/shop-today
    """
    if weight is not None and not 0.0 < weight < float("inf"):
        raise UserError(f"--weight {weight:g} is not a positive number", hint="Give 0.7, or 1.5")
    files = _parse_features(features or ())

    from ld4mrec_cli.cli.console import stdout
    from ld4mrec_cli.runs.add_items import add_items as add_to_run
    from ld4mrec_cli.runs.paths import latest_run
    from ld4mrec_cli.runs.run_directory import RunDirectory

    source = RunDirectory.open(run or latest_run())
    extended = add_to_run(
        source,
        items,
        out,
        features=files,
        images=images,
        data=data,
        weight=weight,
        on_note=log,
    )
    n_added = extended.n_items - source.n_items
    stdout().print(f"added {n_added:,} to {source.n_items:,} items", markup=False)
    stdout().print(f"run written to {extended.path}", markup=False)


def _parse_features(flags: Sequence[str]) -> dict[str, Path]:
    """File by modality. Raises UserError for a flag of another form, or a modality given twice."""
    files: dict[str, Path] = {}
    for flag in flags:
        name, equals, path = flag.partition("=")
        if not (name and equals and path):
            raise UserError(f"--features '{flag}' is not NAME=FILE", hint="Give text=new.parquet")
        if name in files:
            raise UserError(f"--features names '{name}' twice")
        files[name] = Path(path)
    return files
