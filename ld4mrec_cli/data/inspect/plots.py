"""The pictures of an inspection, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ld4mrec_cli.data.inspect.summary import (
    Histogram,
    ModalitySummary,
    Period,
    RatingSummary,
    SplitSummary,
    TimeSummary,
)
from ld4mrec_cli.data.inspect.tables import format_bin
from ld4mrec_cli.plotting import BLUE, LIGHT_GRAY, ORANGE, new_figure, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NARROW, WIDE = 4.7, 9.6
"""Widths in inches."""
MIN_VISIBLE_SHARE = 0.004
"""Bars below this share of the longest one are too thin to see."""
PERIOD_DAYS: dict[Period, float] = {
    "hour": 1 / 24,
    "day": 1.0,
    "week": 7.0,
    "month": 30.4,
    "year": 365.2,
}
"""Width of a bar in days."""


def plot_degrees(histogram: Histogram, unit: str) -> str:
    """Plot the number of users (or items) over the number of interactions, both logarithmic.

    Zero interactions are left out. ``unit`` is ``users`` or ``items``.
    """
    degree, count = np.array(histogram.degree), np.array(histogram.count)
    degree, count = degree[degree > 0], count[degree > 0]
    with new_figure(NARROW, 3.1) as figure:
        axes = figure.subplots()
        axes.loglog(degree, count, "o", markersize=4, alpha=0.65, color=BLUE, markeredgewidth=0)
        axes.set(xlabel="interactions", ylabel=f"number of {unit}")
        axes.set_xlim(left=0.8, right=1.25 * degree.max())
        axes.set_ylim(bottom=0.8, top=1.6 * count.max())
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,.0f}")
        axes.grid(visible=True)
        return to_svg(figure)


def plot_times(times: TimeSummary) -> str:
    """Plot the interactions in each period."""
    starts = np.array([entry.start for entry in times.histogram], dtype="datetime64[m]")
    counts = [entry.interactions for entry in times.histogram]
    with new_figure(WIDE, 3.1) as figure:
        axes = figure.subplots()
        axes.bar(starts, counts, width=PERIOD_DAYS[times.period], align="edge", color=BLUE)
        axes.set_ylabel(f"interactions per {times.period}")
        _format_counts(axes)
        return to_svg(figure)


def plot_ratings(ratings: RatingSummary) -> str:
    """Plot the histogram of the ratings."""
    bins = ratings.histogram
    counts = [entry.count for entry in bins]
    with new_figure(NARROW, 3.1) as figure:
        axes = figure.subplots()
        if bins[0].low == bins[0].high:
            labels = [format_bin(entry.low, entry.high) for entry in bins]
            axes.bar(labels, counts, color=BLUE, width=0.8)
        else:
            edges = [*(entry.low for entry in bins), bins[-1].high]
            axes.stairs(counts, edges, fill=True, color=BLUE)
        axes.set(xlabel="rating", ylabel="interactions")
        _format_counts(axes)
        return to_svg(figure)


def plot_splits(splits: Sequence[SplitSummary]) -> str:
    """Plot the size of each split and its cold part."""
    names = [split.name for split in splits]
    sizes = [split.interactions for split in splits]
    cold = [split.cold_interactions for split in splits]
    with new_figure(NARROW, 2.3) as figure:
        axes = figure.subplots()
        axes.barh(names, sizes, color=BLUE, label="interactions")
        if max(cold) > MIN_VISIBLE_SHARE * max(sizes):
            axes.barh(names, cold, color=ORANGE, label="of them with a cold user or item")
            figure.legend(loc="outside lower center", ncols=2)
        for row, size in enumerate(sizes):
            axes.annotate(f" {size:,}", (size, row), va="center")
        axes.margins(x=0.16)
        _hide_value_axis(axes)
        return to_svg(figure)


def plot_coverage(modalities: Sequence[ModalitySummary]) -> str:
    """Plot the share of items that have a feature of each modality."""
    names = [modality.name for modality in modalities]
    with new_figure(WIDE, 0.3 + 0.36 * len(modalities)) as figure:
        axes = figure.subplots()
        axes.barh(names, [1.0] * len(names), height=0.6, color=LIGHT_GRAY)
        axes.barh(names, [modality.coverage for modality in modalities], height=0.6, color=BLUE)
        for row, modality in enumerate(modalities):
            axes.annotate(f" {modality.coverage:.1%}", (1.0, row), va="center")
        axes.set_xlim(0.0, 1.08)
        _hide_value_axis(axes)
        return to_svg(figure)


def _format_counts(axes: Axes) -> None:
    """Format the vertical axis as whole numbers, with grid lines."""
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(visible=True, axis="y")


def _hide_value_axis(axes: Axes) -> None:
    """Show horizontal bars from top to bottom, without a horizontal axis."""
    axes.invert_yaxis()
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
