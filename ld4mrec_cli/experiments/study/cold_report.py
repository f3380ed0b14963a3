"""Report of `study cold-start`: the first system against the others, the coldest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ld4mrec_cli.experiments.compare.results import Spread
from ld4mrec_cli.experiments.study.cold_start import NEW, SHARE
from ld4mrec_cli.experiments.study.cold_values import (
    Grid,
    Values,
    by_group,
    by_length,
    column_name,
    known_variants,
    of_new_items,
    pair_first,
    recall_of,
)
from ld4mrec_cli.experiments.study.contrasts import (
    COLUMNS,
    Contrast,
    cells,
    compare_pairings,
    contrast_table,
    describe_tests,
)
from ld4mrec_cli.experiments.study.figures import (
    Bar,
    Curve,
    draw_curves,
    draw_forest,
    forest_height,
)
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.report import (
    Picture,
    Report,
    ReportTable,
    join_names,
    name_metric,
)
from ld4mrec_cli.utils.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HISTORY, GROUP = "history of", "items of"


@dataclass(frozen=True)
class Part:
    """One of the three questions."""

    name: str
    """Start of its column names; empty for new items."""
    grid: Grid
    found: Sequence[Contrast]
    """The first system against the others."""

    def of_column(self, column: str) -> list[Contrast]:
        """Contrasts of one column."""
        return [one for one in self.found if one.metric == column_name(self.name, column)]


def report_cold_start(outcome: Outcome) -> Report:
    """Recall by history length, by training interactions of the items, and of new items."""
    known = known_variants(outcome)
    first, metric = (known[0].title if known else ""), name_metric(recall_of(outcome))
    grids = {HISTORY: by_length(outcome), GROUP: by_group(outcome), "": of_new_items(outcome)}
    found = compare_pairings(
        [pairing for name, grid in grids.items() for pairing in pair_first(name, grid, first)]
    )
    names = {name: {column_name(name, column) for column in grid} for name, grid in grids.items()}
    history, group, new = (
        Part(name, grid, [one for one in found if one.metric in names[name]])
        for name, grid in grids.items()
    )
    pictures = [
        *_history_picture(history, metric),
        *_group_picture(group, metric),
        *_new_picture(outcome, new, first, metric),
    ]
    return Report(
        title="Cold start",
        question="Who recommends best to users with short histories, and items with few "
        "interactions or none?",
        answer=_answer(first, (history, group, new), metric),
        findings=[*_findings(first, history, "items of history"), *_findings(first, group, "")],
        pictures=pictures,
        tables=list(_tables(outcome, first, (history, group, new), found)),
        method=[*_describe(metric), *describe_tests(found)],
        data={
            "tests": [one.as_json() for one in found],
            "recall": {
                column_name(name, column): {title: one.mean for title, one in values.items()}
                for name, grid in grids.items()
                for column, values in grid.items()
            },
        },
    )


def _describe(metric: str) -> list[str]:
    return [
        f"All figures are {metric}. Histories are cut to at most n items, for all users, so that "
        "the same users are compared over n; which items stay is drawn by the seed, the same for "
        "all systems. Training items stay excluded, so the ranked items are the same, too. A "
        "system that knows a user by the training alone has no such figures.",
        "Items are grouped by their training interactions; the recall of a group is over the users "
        "with a target in it. The content kNN sums up the cosines of an item to the nearest items "
        "of the history; how many is chosen on validation.",
        f"New items: for every seed, two samples of {SHARE:.0%} of the items leave all splits. "
        "Systems are trained on the rest and extended as `ld4mrec add-items` does; those that "
        "read content of items without interactions keep the content of the samples in training. "
        "Recall is among the new items of the second sample, over the users who had interacted "
        "with one. Sizes and the weight of new items are chosen on the first sample and the "
        "validation split.",
        "Systems are compared seed by seed: a seed draws the same histories and the same samples "
        "for all of them.",
    ]


def _answer(first: str, parts: Sequence[Part], metric: str) -> str:
    openings = {
        HISTORY: "with a history of {}",
        GROUP: "on items with {} training interactions",
        "": "on held-out items",
    }
    said = [
        f"{openings[part.name].format(column)} {_stand(found)}"
        for part in parts
        for column in list(part.grid)[:1]
        if (found := part.of_column(column))
    ]
    if not said:
        return "no two systems worked, so there is nothing to compare"
    tests = [one.test for part in parts for one in part.found]
    runs = "" if all(one.over_seeds for one in tests) else " (in these runs)"
    return f"in {metric}, {first} {'; '.join(said)}{runs}"


def _stand(found: Sequence[Contrast]) -> str:
    """Of whom the first system is ahead, and behind whom it is."""
    ahead = [one.reference for one in found if one.is_better]
    behind = [one.reference for one in found if one.is_worse]
    silent = [one.reference for one in found if not one.test.is_significant]
    said = [f"is ahead of {join_names(ahead)}"] if ahead else []
    said += [f"is behind {join_names(behind)}"] if behind else []
    if not said:
        return f"is not shown to differ from {join_names(silent)}"
    rest = f" (nothing is shown for {join_names(silent)})" if silent else ""
    return " and ".join(said) + rest


def _findings(first: str, part: Part, unit: str) -> list[str]:
    """Against each other system, the columns in which the first is ahead or behind."""
    lines = []
    for other in dict.fromkeys(one.reference for one in part.found):
        said = []
        for word, is_so in (("ahead", _is_better), ("behind", _is_worse)):
            columns = [
                column
                for column in part.grid
                if any(one.reference == other and is_so(one) for one in part.of_column(column))
            ]
            if columns:
                said.append(f"{word} at {join_names(columns)}")
        if said:
            what = unit or "training interactions of the items"
            lines.append(f"{first} against {other}, by {what}: {', '.join(said)}")
    return lines


def _is_better(one: Contrast) -> bool:
    return one.is_better


def _is_worse(one: Contrast) -> bool:
    return one.is_worse


def _curves(grid: Grid, place: Callable[[int, str], float]) -> list[Curve]:
    titles = dict.fromkeys(title for values in grid.values() for title in values)
    curves = []
    for title in titles:
        points = [
            (place(number, column), values[title])
            for number, (column, values) in enumerate(grid.items())
            if title in values
        ]
        bounds = [one.bounds for _, one in points]
        curves.append(
            Curve(
                title,
                [x for x, _ in points],
                [one.mean for _, one in points],
                [low for low, _ in bounds],
                [high for _, high in bounds],
            )
        )
    return curves


def _list_curves(curves: Sequence[Curve], columns: Sequence[str]) -> str:
    return "; ".join(
        f"{curve.title}: "
        + ", ".join(f"{y:.4f} at {name}" for name, y in zip(columns, curve.y, strict=False))
        for curve in curves
    )


def _history_picture(part: Part, metric: str) -> list[Picture]:
    if not part.grid:
        return []
    curves = _curves(part.grid, lambda number, column: float(column))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_curves(axes, curves, "items of the history", metric)
        axes.set_xscale("log")
        axes.set_xticks([float(column) for column in part.grid], list(part.grid))
        axes.minorticks_off()

    return [
        Picture(
            draw=draw,
            height=3.6,
            alt=f"{metric} over the length of the history. "
            + _list_curves(curves, list(part.grid)),
            caption=f"{metric} of the same users when at most so many items of their history are "
            "known. Bars: 95 % interval over users and seeds.",
        )
    ]


def _group_picture(part: Part, metric: str) -> list[Picture]:
    if not part.grid:
        return []
    curves = _curves(part.grid, lambda number, column: float(number))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_curves(axes, curves, "training interactions of the item", metric)
        axes.set_xticks(range(len(part.grid)), list(part.grid), rotation=45, ha="right")

    return [
        Picture(
            draw=draw,
            height=3.8,
            alt=f"{metric} of the targets by the training interactions of the items. "
            + _list_curves(curves, list(part.grid)),
            caption=f"{metric} of the targets among the items with so many training interactions. "
            "Bars: 95 % interval over users and seeds.",
        )
    ]


def _new_picture(outcome: Outcome, part: Part, first: str, metric: str) -> list[Picture]:
    values = part.grid.get(NEW, {})
    if not values:
        return []
    differing = {one.reference for one in part.found if one.test.is_significant}
    bars = [
        Bar(title, one.mean, *one.bounds, is_shown=title == first or title in differing)
        for title, one in values.items()
    ]
    chance = _chance(outcome)
    label = f"{metric} among the new items"
    listed = ", ".join(f"{bar.title} {bar.value:.4f}" for bar in bars)
    return [
        Picture(
            draw=lambda figure: draw_forest(figure, bars, label, line=chance),
            height=forest_height(len(bars)),
            alt=f"{label}, with 95 % intervals: {listed}. By chance: {chance:.4f}.",
            caption=f"{metric} among held-out items, of which the content alone is known; line: by "
            f"chance. Filled: {first}, and what is shown to differ from it.",
        )
    ]


def _chance(outcome: Outcome) -> float:
    """Recall of a random order of the new items, the mean over the evaluations."""
    found = [
        one.metrics["chance"]
        for variant in outcome.variants
        if variant.facts["part"] == NEW
        for one in outcome.of(variant, variant.readings[0].name)
    ]
    return Spread.of(found).mean


def _tables(
    outcome: Outcome, first: str, parts: Sequence[Part], found: Sequence[Contrast]
) -> list[ReportTable]:
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
        tables.append(_new_table(new, metric, _chance(outcome)))
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


def _new_table(part: Part, metric: str, chance: float) -> ReportTable:
    by_other = {one.reference: one for one in part.found}
    rows = []
    for title, values in part.grid[NEW].items():
        low, high = values.bounds
        one = by_other.get(title)
        shown = f"{values.mean:.4f} [{low:.4f}, {high:.4f}]"
        rows.append([title, shown, *(cells(one) if one else ["–"] * len(COLUMNS))])
    note = f"Differences are of the first system minus this one. By chance: {chance:.4f}."
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
        f"{metric} where new items are ranked among all, by their weight (`add-items --weight`), "
        "which is chosen on validation; means over seeds."
    )
    return [ReportTable("New items in the whole catalog", Table(columns, rows), note)]
