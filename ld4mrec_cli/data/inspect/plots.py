"""The pictures of an inspection, as SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ld4mrec_cli.data.inspect.summary import (
    Histogram,
    ModalitySummary,
    RatingSummary,
    SplitSummary,
    TimeSummary,
)
from ld4mrec_cli.data.inspect.tables import rating_label

BLUE, ORANGE, GRID = "#2f6f9f", "#d9822b", "#d5dae0"
STYLE: dict[Any, Any] = {
    "date.converter": "concise",
    "svg.hashsalt": "ld4mrec",  # the same data give the same bytes
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a0",
    "axes.labelcolor": "#3d4752",
    "xtick.color": "#3d4752",
    "ytick.color": "#3d4752",
    "axes.axisbelow": True,
}


def degree_plot(histogram: Histogram, whose: str) -> str:
    """How many users (or items) have each number of interactions, on log-log axes; zero is left out."""

    def draw(axes: Any) -> None:
        points = [(d, n) for d, n in zip(histogram.degree, histogram.count, strict=True) if d > 0]
        axes.loglog(
            *zip(*points, strict=True), "o", markersize=4, alpha=0.65, color=BLUE, markeredgewidth=0
        )
        axes.set(xlabel="interactions", ylabel=f"number of {whose}")
        axes.set_xlim(left=0.8, right=1.25 * max(d for d, _ in points))
        axes.set_ylim(bottom=0.8, top=1.6 * max(n for _, n in points))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:,.0f}")
        axes.grid(color=GRID, linewidth=0.6)

    return _svg(draw)


def time_plot(times: TimeSummary) -> str:
    """Interactions in each period."""

    def draw(axes: Any) -> None:
        start = np.array([entry.start for entry in times.histogram], dtype="datetime64[m]")
        width = _PERIOD_DAYS[times.period]
        axes.bar(
            start,
            [entry.interactions for entry in times.histogram],
            width=width,
            align="edge",
            color=BLUE,
        )
        axes.set(ylabel=f"interactions per {times.period}")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y", color=GRID, linewidth=0.6)

    return _svg(draw, width=9.6)


def rating_plot(ratings: RatingSummary) -> str:
    """Histogram of the ratings."""

    def draw(axes: Any) -> None:
        counts = [entry.count for entry in ratings.histogram]
        if ratings.histogram[0].low == ratings.histogram[0].high:
            axes.bar(
                [rating_label(entry.low, entry.high) for entry in ratings.histogram],
                counts,
                color=BLUE,
                width=0.8,
            )
        else:
            lows = [entry.low for entry in ratings.histogram]
            axes.stairs(counts, [*lows, ratings.histogram[-1].high], fill=True, color=BLUE)
        axes.set(xlabel="rating", ylabel="interactions")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y", color=GRID, linewidth=0.6)

    return _svg(draw)


def split_plot(splits: Sequence[SplitSummary]) -> str:
    """Size of each split, and how much of it is cold."""

    def draw(axes: Any) -> None:
        names = [split.name for split in splits]
        sizes = [split.interactions for split in splits]
        axes.barh(names, sizes, color=BLUE, label="interactions")
        cold = [split.cold_interactions for split in splits]
        if max(cold) > 0.004 * max(sizes):  # else too thin to see
            axes.barh(names, cold, color=ORANGE, label="of them with a cold user or item")
            axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)
        for row, size in enumerate(sizes):
            axes.annotate(f" {size:,}", (size, row), va="center")
        axes.margins(x=0.16)
        axes.invert_yaxis()
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)

    return _svg(draw, height=2.3)


def coverage_plot(modalities: Sequence[ModalitySummary]) -> str:
    """Share of the items that have a feature of each modality."""

    def draw(axes: Any) -> None:
        names = [modality.name for modality in modalities]
        axes.barh(names, [1.0] * len(names), height=0.6, color="#e9edf1")
        axes.barh(names, [modality.coverage for modality in modalities], height=0.6, color=BLUE)
        for row, modality in enumerate(modalities):
            axes.annotate(f" {modality.coverage:.1%}", (1.0, row), va="center")
        axes.set_xlim(0.0, 1.08)
        axes.invert_yaxis()
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)

    return _svg(draw, width=9.6, height=0.3 + 0.36 * len(modalities))


_PERIOD_DAYS = {"hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 30.4, "year": 365.2}


def _svg(draw: Callable[[Any], None], width: float = 4.7, height: float = 3.1) -> str:
    """Let ``draw`` fill the axes of a new figure; return the figure as SVG."""
    import matplotlib as mpl  # slow to import, needed for pages alone
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        stream = io.StringIO()
        figure.savefig(
            stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return stream.getvalue()
