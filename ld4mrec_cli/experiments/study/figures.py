"""Pictures that several studies draw. They say in form and color what they say in color alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ld4mrec_cli.plotting import BLUE, GRAY, ORANGE, PALETTE, set_log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPXh"
CURVE_SHIFT = 3.0
"""Points by which a curve stands beside the one before."""
POINTS_PER_INCH = 72.0


@dataclass(frozen=True)
class Bar:
    """A difference and its interval."""

    title: str
    value: float
    low: float
    high: float
    is_shown: bool
    """Whether the difference is shown to be one."""


@dataclass(frozen=True)
class Curve:
    """Values over an axis, with the half-widths of their intervals."""

    title: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Point:
    """A cost and what it gives, with its interval."""

    title: str
    x: float
    y: float
    low: float
    high: float


def forest_height(n_bars: int) -> float:
    """Inches of a forest of that many rows."""
    return 1.1 + 0.27 * n_bars


def draw_forest(figure: Figure, bars: Sequence[Bar], label: str, line: float = 0.0) -> None:
    """Differences as points with their intervals; filled and colored where one is shown.

    ``line``: what they are seen from, where they are no differences.
    """
    axes = figure.subplots()
    for row, bar in enumerate(bars):
        color = GRAY if not bar.is_shown else BLUE if bar.value > line else ORANGE
        axes.plot([bar.low, bar.high], [row, row], color=color, linewidth=1.6)
        face = color if bar.is_shown else "white"
        axes.plot(bar.value, row, "o", color=color, markerfacecolor=face, markersize=6)
    axes.axvline(line, color="#3d4752", linewidth=0.8)
    axes.set_yticks(range(len(bars)), [bar.title for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=3)  # beside long titles there is room for few numbers
    axes.set_xlabel(label, loc="right")
    axes.grid(visible=True, axis="x")


def draw_points(axes: Axes, points: Sequence[Point], xlabel: str, ylabel: str) -> None:
    """What systems give over what they cost; the axis of the cost is logarithmic."""
    least = min((point.x for point in points if point.x > 0.0), default=1.0)
    for number, point in enumerate(points):
        color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        axes.errorbar(
            max(point.x, least),
            point.y,
            yerr=[[max(point.y - point.low, 0.0)], [max(point.high - point.y, 0.0)]],
            color=color,
            marker=marker,
            markersize=6,
            linestyle="none",
            capsize=2,
            label=point.title,
        )
    axes.set_xscale("log")
    axes.margins(x=0.1)
    set_log_ticks(axes.xaxis, least, max(least, *(point.x for point in points)))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(visible=True)


def draw_curves(
    axes: Axes, curves: Sequence[Curve], xlabel: str, ylabel: str, *, has_legend: bool = True
) -> None:
    """Curves with the interval of every point; without a legend, see :func:`add_legend`.

    The curves stand a little beside each other, so that no interval hides another.
    """
    from matplotlib.transforms import ScaledTranslation

    scale = axes.figure.dpi_scale_trans
    for number, curve in enumerate(curves):
        shift = (number - (len(curves) - 1) / 2) * CURVE_SHIFT / POINTS_PER_INCH
        color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        errors = [
            [max(y - low, 0.0) for y, low in zip(curve.y, curve.low, strict=True)],
            [max(high - y, 0.0) for y, high in zip(curve.y, curve.high, strict=True)],
        ]
        axes.errorbar(
            curve.x,
            curve.y,
            yerr=errors,
            color=color,
            marker=marker,
            markersize=4.5,
            linewidth=1.3,
            capsize=2,
            label=curve.title,
            transform=axes.transData + ScaledTranslation(shift, 0.0, scale),
        )
        # Curves with a transform of their own do not count in the limits.
        ends = [*zip(curve.x, curve.low, strict=True), *zip(curve.x, curve.high, strict=True)]
        axes.update_datalim(ends)
    axes.autoscale_view()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(visible=True)
    if has_legend and len(curves) > 1:
        axes.legend(fontsize=8)


def add_legend(figure: Figure, axes: Axes) -> None:
    """A legend of ``axes`` below all, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
