"""`ld4mrec export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ld4mrec_cli.cli.options import Device, Run, Threads
from ld4mrec_cli.cli.recommend import KnownChoice
from ld4mrec_cli.utils.errors import UserError

if TYPE_CHECKING:
    from ld4mrec_cli.serving.export.export import ExportFormat, ExportReport

FORMAT_CHOICES: tuple[ExportFormat, ...] = ("parquet", "onnx")


def export(
    out: Annotated[Path, typer.Option(help="Directory to write.", show_default=False)],
    run: Run = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="parquet,onnx",
            help="What to write, comma-separated.",
            show_default="all that the model allows",
        ),
    ] = None,
    splits: Annotated[
        KnownChoice, typer.Option(help="Whose interactions are the histories of the users.")
    ] = KnownChoice.ALL,
    neighbors: Annotated[
        int,
        typer.Option(
            min=1, help="Weights per item that are kept of dense item-item weights, as of EASE."
        ),
    ] = 200,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export.")
    ] = False,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Write a run's vectors as Parquet, and its inference as ONNX.

    The tables serve as the source of an index for approximate search. ONNX needs the extra
    `export`. Both are compared with the model before they are written.

    Example: ld4mrec export --run runs/latest --out exported

    Example: ld4mrec export --out exported --format onnx --overwrite
    """
    formats = None if format is None else parse_formats(format)

    from ld4mrec_cli.cli.console import log
    from ld4mrec_cli.runs.paths import latest_run
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.serving.export.export import export_run
    from ld4mrec_cli.utils.device import resolve_device

    report = export_run(
        RunDirectory.open(run or latest_run()),
        out,
        formats,
        splits=splits.value,
        neighbors=neighbors,
        overwrite=overwrite,
        device=resolve_device(device or "auto"),
        on_note=log,
    )
    _print_report(report, out)


def parse_formats(text: str) -> list[ExportFormat]:
    """Parse ``parquet,onnx``. Raises UserError."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FORMAT_CHOICES:
            raise UserError(
                f"--format '{name}' is not one of {', '.join(FORMAT_CHOICES)}",
                hint="Give one or both, such as parquet,onnx",
            )
    return [name for name in FORMAT_CHOICES if name in names]


def _print_report(report: ExportReport, out: Path) -> None:
    typer.echo(f"{report.model}, {report.n_users:,} users, {report.n_items:,} items")
    if report.score is not None:
        typer.echo(f"score: {report.score}")
        typer.echo(f"tables: differ from the model by at most {report.max_difference:.1e}")
    if report.onnx is not None:
        difference = report.onnx["max_difference"]
        checked = "not checked" if difference is None else f"differs by at most {difference:.1e}"
        typer.echo(f"ONNX: {checked}")
    typer.echo(f"written to {out}")
