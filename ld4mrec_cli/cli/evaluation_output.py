"""How an evaluation is printed, and the file of the metrics of each user."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ld4mrec_cli.cli.list_writer import csv_writer
from ld4mrec_cli.cli.options import Format
from ld4mrec_cli.cli.output import Output, parse_output
from ld4mrec_cli.utils.errors import UserError

if TYPE_CHECKING:
    from ld4mrec_cli.data.dataset import Dataset
    from ld4mrec_cli.evaluation.results import Evaluation, Grouping

TABLE_FORMATS = (Format.CSV, Format.TSV, Format.PARQUET)
"""Formats of the metrics of each user."""
SHOWN_CUTOFF = 20
"""Groups are shown at this cutoff where it is measured, else at the largest; JSON has all."""
SHOWN_METRICS = ("recall", "ndcg", "hit", "share")
"""Metrics of groups that the table shows."""


def parse_file(option: str, path: Path, formats: Sequence[Format]) -> Output:
    """The output of an option that names a file, because the metrics are on standard output.

    Raises:
        UserError: it names none, or its suffix no format.
    """
    output = parse_output(None, path, formats, option=option)
    if output.path is None:
        raise UserError(f"{option} needs a file: the metrics are on standard output")
    return output


def write_per_user(found: Evaluation, dataset: Dataset, output: Output | None) -> None:
    """Write a row for each evaluated user: raw id, history, targets, metrics.

    A value that is not defined for a user is empty.
    """
    if output is None:
        return
    columns: dict[str, list[Any]] = {
        "user": [dataset.users[user] for user in found.users],
        "history": found.n_history.tolist(),
        "targets": found.n_targets.tolist(),
    }
    for name, values in found.per_user.items():
        columns[name] = [None if math.isnan(value) else value for value in values.tolist()]
    if output.format is Format.PARQUET:
        import polars as pl

        types = {"user": pl.String, "history": pl.Int64, "targets": pl.Int64}
        schema = {name: types.get(name, pl.Float64) for name in columns}
        with output.open_file() as path:
            pl.DataFrame(columns, schema=schema).write_parquet(path)
        return
    with output.open_text() as stream:
        writer = csv_writer(stream, "\t" if output.format is Format.TSV else ",")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def print_evaluation(
    found: Evaluation,
    split: str,
    mask: str,
    title: str,
    source: Mapping[str, str],
    format: Format,
) -> None:
    """Print metrics and groups, as tables or as one JSON object.

    Args:
        found: what was measured.
        split: the split that was evaluated.
        mask: what was left out of the ranking.
        title: what was evaluated, for the table.
        source: the same by key, for JSON.
        format: table or JSON.
    """
    if format is Format.JSON:
        result = {
            "split": split,
            "n_users": len(found.users),
            "metrics": found.metrics,
            "mask": mask,
            **source,
        }
        if found.groups:
            result["groups"] = _describe_groups(found.groups)
        typer.echo(json.dumps(result))
        return
    n_users = len(found.users)
    cutoffs = list(found.item_counts)
    line = f"{title}, {split} split, {n_users:,} users, masked: {mask}"
    print_metrics(found.metrics, cutoffs, line)
    shown = SHOWN_CUTOFF if SHOWN_CUTOFF in cutoffs else cutoffs[-1]
    for grouping in found.groups:
        _print_groups(grouping, shown)


def print_metrics(metrics: Mapping[str, float], cutoffs: Sequence[int], title: str) -> None:
    """Print metrics as a table, a row per metric and a column per cutoff."""
    from ld4mrec_cli.cli.console import print_table
    from ld4mrec_cli.utils.tables import Table

    names = list(dict.fromkeys(name.split("@")[0] for name in metrics))
    rows = [[name, *(_cell(metrics.get(f"{name}@{k}")) for k in cutoffs)] for name in names]
    print_table(Table(["metric", *(f"@{k}" for k in cutoffs)], rows, title))


def _print_groups(grouping: Grouping, k: int) -> None:
    """Print the groups of one kind at a cutoff, and the gap between them below."""
    from ld4mrec_cli.cli.console import print_table, stdout
    from ld4mrec_cli.utils.tables import Table

    names = [f"{name}@{k}" for name in SHOWN_METRICS]
    names = [name for name in names if any(name in group.metrics for group in grouping.groups)]
    rows = [
        [group.name, f"{group.n_users:,}", *(_cell(group.metrics.get(name)) for name in names)]
        for group in grouping.groups
    ]
    gaps = [grouping.gaps.get(name) for name in names]
    if any(gaps):
        rows.append(["max - min", "", *(_cell(gap.difference if gap else None) for gap in gaps)])
        rows.append(["min / max", "", *(_cell(gap.ratio if gap else None) for gap in gaps)])
    stdout().print()
    print_table(Table([grouping.by, "users", *names], rows))


def _describe_groups(groupings: Sequence[Grouping]) -> list[dict[str, Any]]:
    from ld4mrec_cli.runs.evaluations import MeasuredGroups

    return [MeasuredGroups.of(grouping).model_dump() for grouping in groupings]


def _cell(value: float | None) -> str:
    """Four decimals; a smaller value keeps a digit."""
    if value is None:
        return "–"
    return f"{value:.0e}" if 0.0 < value < 0.00005 else f"{value:.4f}"
