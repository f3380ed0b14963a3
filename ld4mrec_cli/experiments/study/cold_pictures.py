"""Pictures of `study cold-start`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ld4mrec_cli.experiments.study.cold_start import NEW
from ld4mrec_cli.experiments.study.cold_values import CHANCE, Grid, Part
from ld4mrec_cli.experiments.study.figures import (
    Bar,
    Curve,
    add_legend,
    draw_curves,
    draw_forest,
    forest_height,
)
from ld4mrec_cli.experiments.study.report import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def show_histories(part: Part, metric: str) -> list[Picture]:
    """Recall over the length of the history; nothing where no system is given one."""
    if not part.grid:
        return []
    curves = _curves(part.grid, lambda number, column: float(column))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_curves(axes, curves, "items of the history", metric, has_legend=False)
        add_legend(figure, axes)
        axes.set_xscale("log")
        axes.set_xticks([float(column) for column in part.grid], list(part.grid))
        axes.minorticks_off()

    return [
        Picture(
            draw=draw,
            height=3.8,
            alt=f"{metric} over the length of the history. "
            + _list_curves(curves, list(part.grid)),
            caption=f"{metric} of the same users when at most so many items of their history are "
            "known. Bars: 95 % interval over users and seeds.",
        )
    ]


def show_groups(part: Part, metric: str) -> list[Picture]:
    """Recall over the training interactions of the items."""
    if not part.grid:
        return []
    curves = _curves(part.grid, lambda number, column: float(number))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_curves(axes, curves, "training interactions of the item", metric, has_legend=False)
        add_legend(figure, axes)
        axes.set_xticks(range(len(part.grid)), list(part.grid), rotation=45, ha="right")

    return [
        Picture(
            draw=draw,
            height=4.2,
            alt=f"{metric} of the targets by the training interactions of the items. "
            + _list_curves(curves, list(part.grid)),
            caption=f"{metric} of the targets among the items with so many training interactions. "
            "Bars: 95 % interval over users and seeds.",
        )
    ]


def show_new_items(part: Part, first: str, metric: str) -> list[Picture]:
    """Recall among the held-out items, with that of a random order as a line."""
    values = {name: one for name, one in part.grid.get(NEW, {}).items() if name != CHANCE}
    if not values:
        return []
    chance = part.grid[NEW][CHANCE].mean
    differing = {one.reference for one in part.found if one.test.is_significant}
    bars = [
        Bar(title, one.mean, *one.bounds, is_shown=title == first or title in differing)
        for title, one in values.items()
    ]
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
