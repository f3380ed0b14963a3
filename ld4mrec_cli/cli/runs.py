"""`ld4mrec runs`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ld4mrec_cli.cli.options import Format, format_option
from ld4mrec_cli.utils.text import to_json

if TYPE_CHECKING:
    from ld4mrec_cli.runs.listing import ListedRun

COLUMNS = (("valid", "ndcg@20"), ("test", "recall@20"), ("test", "ndcg@20"))
"""Split and metric of the columns."""


def runs(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Directory with runs, or a run.")
    ] = Path("runs"),
    format: Annotated[Format, format_option(Format.TABLE, Format.JSON)] = Format.TABLE,
) -> None:
    """List runs with dataset, model, metrics and age.

    The metrics of the test split are there once `ld4mrec evaluate` has measured them. The run that
    other commands use by default is marked with *.

    Example: ld4mrec runs

    Example: ld4mrec runs experiments/runs --format json
    """
    from ld4mrec_cli.cli.console import print_table
    from ld4mrec_cli.runs.listing import list_runs
    from ld4mrec_cli.utils.tables import Table

    listed = list_runs(directory)
    if format is Format.JSON:
        for run in listed:
            typer.echo(to_json(_as_object(run)))
        return
    columns = ["run", "dataset", "model", "status", "epochs"]
    columns += [f"{split} {metric}" for split, metric in COLUMNS]
    print_table(Table([*columns, "age"], [_row(run) for run in listed]))


def _row(run: ListedRun) -> list[str]:
    name = run.path.name + (" *" if run.is_latest else "")
    manifest = run.manifest
    if manifest is None:
        return [name, "", "", run.status, *[""] * (len(COLUMNS) + 2)]
    values = [
        _valid(run, metric) if split == "valid" else run.evaluations.value(split, metric)
        for split, metric in COLUMNS
    ]
    status = "refit" if manifest.refit_of and run.status == "complete" else run.status
    numbers = ["" if value is None else f"{value:.4f}" for value in values]
    return [
        name,
        manifest.dataset.name,
        manifest.model,
        status,
        str(manifest.epochs),
        *numbers,
        _age(run),
    ]


def _valid(run: ListedRun, metric: str) -> float | None:
    """The best validation value, or what `evaluate --split valid` measured."""
    best = run.manifest.best if run.manifest else None
    value = best.valid.get(metric) if best else None
    return run.evaluations.value("valid", metric) if value is None else value


def _age(run: ListedRun) -> str:
    """Time since the training started, in its largest unit."""
    if run.started is None:
        return ""
    seconds = max(0.0, (datetime.now().astimezone() - run.started).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _as_object(run: ListedRun) -> dict[str, Any]:
    manifest = run.manifest
    if manifest is None:
        return {"run": str(run.path), "status": run.status}
    source = manifest.refit_of
    return {
        "run": str(run.path),
        "status": run.status,
        "is_latest": run.is_latest,
        "name": manifest.name,
        "dataset": manifest.dataset.name,
        "dataset_hash": manifest.dataset.hash,
        "model": manifest.model,
        "seed": manifest.seed,
        "epochs": manifest.epochs,
        "started": manifest.started,
        "seconds": manifest.seconds,
        "refit_of": source.run if source else None,
        "best": manifest.best.model_dump() if manifest.best else None,
        "init_from": manifest.init_from.run if manifest.init_from else None,
        "test": _measured(run, "test"),
        "newer_test": _measured(run, "newer test"),
    }


def _measured(run: ListedRun, split: str) -> dict[str, float]:
    """What `evaluate` measured last of a split, by metric."""
    return {
        f"{name}@{k}": value
        for k, measured in run.evaluations.splits.get(split, {}).items()
        for name, value in measured.metrics.items()
    }
