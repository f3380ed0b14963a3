"""The picture of a comparison: accuracy of each system, and accuracy against training time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ld4mrec_cli.experiments.compare.results import Comparison
from ld4mrec_cli.plotting import PALETTE, new_figure, save_png, set_log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP"
"""Systems differ in color and marker, so that more systems than colors stay distinct."""
MIN_SECONDS = 0.01
"""Shorter training times are drawn here; the axis is logarithmic."""


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Draw the systems with a result, at least one, and write the picture as PNG.

    There is one panel per tested metric, and one of the ranking metric against training time.
    """
    n_panels = len(comparison.tested) + 1
    width, height = 2.2 + 3.4 * n_panels, max(2.8, 1.2 + 0.3 * len(comparison.working))
    with new_figure(width, height) as figure:
        *metric_axes, time_axes = figure.subplots(1, n_panels)
        for axes, metric in zip(metric_axes, comparison.tested, strict=True):
            _plot_metric(axes, comparison, metric, with_labels=axes is metric_axes[0])
        _plot_time(time_axes, comparison)
        figure.legend(loc="outside right center")
        save_png(figure, path)


def _plot_metric(axes: Axes, comparison: Comparison, metric: str, *, with_labels: bool) -> None:
    """Plot mean, standard deviation and each seed of the systems, in their order."""
    systems = comparison.working
    for row, system in enumerate(systems):
        spread, look = system.metrics[metric], _get_look(row)
        values = [run.metrics[metric] for run in system.done]
        axes.plot(values, [row] * len(values), "|", color=look["color"], alpha=0.6, markersize=9)
        axes.errorbar(spread.mean, row, xerr=spread.std or 0.0, capsize=3, **look)
    axes.set_yticks(
        range(len(systems)), [system.label for system in systems] if with_labels else []
    )
    axes.set_ylim(len(systems) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(f"{metric}, {comparison.split}")
    axes.grid(visible=True)


def _plot_time(axes: Axes, comparison: Comparison) -> None:
    """Plot the ranking metric against the mean training time in seconds."""
    all_seconds = []
    for row, system in enumerate(comparison.working):
        if system.training_seconds is None:  # lists of another tool: a name in the legend
            axes.plot([], [], label=system.label, **_get_look(row))
            continue
        seconds = max(system.training_seconds, MIN_SECONDS)
        mean = system.metrics[comparison.metric].mean
        axes.plot(seconds, mean, label=system.label, **_get_look(row))
        all_seconds.append(seconds)
    axes.margins(x=0.1, y=0.1)
    if all_seconds:
        axes.set_xscale("log")
        set_log_ticks(axes.xaxis, min(all_seconds), max(all_seconds))
    axes.set(xlabel="training seconds", ylabel=f"{comparison.metric}, {comparison.split}")
    axes.grid(visible=True)


def _get_look(row: int) -> dict[str, Any]:
    return {
        "color": PALETTE[row % len(PALETTE)],
        "marker": MARKERS[row % len(MARKERS)],
        "markersize": 5.5,
        "linestyle": "none",
    }
