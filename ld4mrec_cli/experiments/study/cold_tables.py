"""Tables of `study cold-start`."""

from __future__ import annotations

from collections.abc import Sequence

from ld4mrec_cli.experiments.compare.results import Spread
from ld4mrec_cli.experiments.study.cold_start import NEW
from ld4mrec_cli.experiments.study.cold_values import Grid, Part, Values, recall_of
from ld4mrec_cli.experiments.study.contrasts import COLUMNS, Contrast, cells, contrast_table
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.report import ReportTable, name_metric
from ld4mrec_cli.utils.tables import Table


def list_tables(
    outcome: Outcome, first: str, parts: Sequence[Part], found: Sequence[Contrast]
) -> list[ReportTable]:
    """Recall of each part, and all tests."""
    history, group, new = parts
    metric = name_metric(recall_of(outcome))
    tables = []
    if history.grid:
        note = f"{metric}; columns: items of the history, at most."
        tables.append(ReportTable("Short histories", _grid_table(history.grid), note))
    if group.grid:
        users = [
            f"{next(iter(values.values())).sample.values.shape[1]:,}"
            for values in group.grid.values()
        ]
        table = _grid_table(group.grid)
        rows = [*table.rows, ["users", *users]]
        note = f"{metric} of targets; columns: training interactions of the items."
        tables.append(ReportTable("Items of few interactions", Table(table.columns, rows), note))
    if new.grid:
        tables.append(_new_table(new, metric))
        tables += _weight_table(outcome, metric)
    if found:
        note = f"The first system of each row is {first}; metric: {metric}."
        tables.append(ReportTable("Tests", contrast_table(found, "systems"), note))
    return tables


def _grid_table(grid: Grid) -> Table:
    titles = dict.fromkeys(title for values in grid.values() for title in values)
    rows = [[title, *(_mean(values.get(title)) for values in grid.values())] for title in titles]
    return Table(["system", *grid], rows)


def _mean(values: Values | None) -> str:
    return "–" if values is None else f"{values.mean:.4f}"


def _new_table(part: Part, metric: str) -> ReportTable:
    by_other = {one.reference: one for one in part.found}
    rows = []
    for title, values in part.grid[NEW].items():
        low, high = values.bounds
        one = by_other.get(title)
        shown = f"{values.mean:.4f} [{low:.4f}, {high:.4f}]"
        rows.append([title, shown, *(cells(one) if one else ["–"] * len(COLUMNS))])
    note = "Differences are of the first system minus this one."
    return ReportTable("New items", Table(["system", f"{metric} [95 %]", *COLUMNS], rows), note)


def _weight_table(outcome: Outcome, metric: str) -> list[ReportTable]:
    """The whole catalog, as `add-items` extends it, with and without the chosen weight."""
    columns = ["system, weight", "known items", "new items", "all", "new in lists"]
    keys = ("warm_recall", "cold_recall", "recall", "cold_share")
    rows = []
    for variant in outcome.variants:
        runs = outcome.of(variant, variant.readings[0].name)
        if variant.facts["part"] != NEW or "weight" not in runs[0].metrics:
            continue
        weight = Spread.of([one.metrics["weight"] for one in runs]).mean
        for name, kind in (("1", "plain"), (f"chosen ({weight:.2g})", "weighted")):
            means = [Spread.of([one.metrics[f"{key} {kind}"] for one in runs]).mean for key in keys]
            shown = [*(f"{mean:.4f}" for mean in means[:3]), f"{means[3]:.1%}"]
            rows.append([f"{variant.facts['system']}, {name}", *shown])
    if not rows:
        return []
    note = (
        f"{metric} where new items are ranked among all, by their weight (add-items --weight), "
        "which is chosen on validation; means over seeds."
    )
    return [ReportTable("New items in the whole catalog", Table(columns, rows), note)]
