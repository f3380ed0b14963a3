"""The picture of a comparison: accuracy per system, and against training time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ld4mrec_cli.data.inspect.plots import GRID, STYLE
from ld4mrec_cli.experiments.compare.results import Comparison
from ld4mrec_cli.utils.files import atomic_file

COLOURS = ("#2f6f9f", "#d9822b", "#3c8d5a", "#a23b5c", "#7b5ea7", "#8a6d3b", "#4aa3a2", "#5d6770")
MARKERS = "osD^vP"
"""Systems differ in both, so that colors may repeat and need not be told apart."""
MIN_SECONDS = 0.01
"""Shorter trainings are drawn at this time, on the logarithmic axis."""


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Plot the systems that worked: a panel per tested metric, and accuracy against time."""
    import matplotlib as mpl  # slow to import, needed once per comparison
    from matplotlib.figure import Figure

    n_panels = len(comparison.tested) + 1
    with mpl.rc_context(STYLE):
        height = max(2.8, 1.2 + 0.3 * len(comparison.working))
        figure = Figure(figsize=(2.2 + 3.4 * n_panels, height), dpi=110, layout="constrained")
        *dots, times = figure.subplots(1, n_panels)
        for number, (axes, metric) in enumerate(zip(dots, comparison.tested, strict=True)):
            _draw_dots(axes, comparison, metric, with_labels=number == 0)
        _draw_times(times, comparison)
        figure.legend(loc="outside right center", frameon=False)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_dots(axes: Any, comparison: Comparison, metric: str, *, with_labels: bool) -> None:
    """Mean, standard deviation and every seed; the systems in the order given."""
    for row, system in enumerate(comparison.working):
        spread, look = system.metrics[metric], _look(row)
        values = [run.metrics[metric] for run in system.done]
        axes.plot(values, [row] * len(values), "|", color=look["color"], alpha=0.6, markersize=9)
        axes.errorbar(spread.mean, row, xerr=spread.std or 0.0, capsize=3, **look)
    axes.set_yticks(
        range(len(comparison.working)),
        [one.label for one in comparison.working] if with_labels else [],
    )
    axes.set_ylim(len(comparison.working) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(f"{metric}, {comparison.split}")
    axes.grid(color=GRID, linewidth=0.6)


def _draw_times(axes: Any, comparison: Comparison) -> None:
    """The metric that ranks, against the mean seconds of a training."""
    for row, system in enumerate(comparison.working):
        seconds = max(system.training_seconds or 0.0, MIN_SECONDS)
        axes.plot(seconds, system.metrics[comparison.metric].mean, label=system.label, **_look(row))
    axes.set_xscale("log")
    axes.margins(x=0.1, y=0.1)
    axes.set(xlabel="training seconds", ylabel=f"{comparison.metric}, {comparison.split}")
    axes.grid(color=GRID, linewidth=0.6)


def _look(row: int) -> dict[str, Any]:
    marker = MARKERS[row % len(MARKERS)]
    return {
        "color": COLOURS[row % len(COLOURS)],
        "marker": marker,
        "markersize": 5.5,
        "linestyle": "none",
    }
