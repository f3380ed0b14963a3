"""One style for all pictures, and the learning curve of a run.

The same data give the same bytes, as long as matplotlib keeps its version. Matplotlib is slow to
import, so functions import it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ld4mrec_cli.utils.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, ORANGE, GRAY, LIGHT_GRAY = "#2f6f9f", "#d9822b", "#8a94a0", "#e9edf1"
PALETTE = (BLUE, ORANGE, "#3c8d5a", "#a23b5c", "#7b5ea7", "#8a6d3b", "#4aa3a2", "#5d6770")
"""Colors of the systems of a comparison."""
DPI = 110
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "text.parse_math": False,  # names from the data may contain $
    "text.color": "#1d242b",
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRAY,
    "axes.labelcolor": "#3d4752",
    "axes.axisbelow": True,
    "xtick.color": "#3d4752",
    "ytick.color": "#3d4752",
    "grid.color": "#d5dae0",
    "grid.linewidth": 0.6,
    "lines.markersize": 5.0,
    "legend.frameon": False,
    "date.converter": "concise",
    "svg.hashsalt": "ld4mrec",  # otherwise ids of elements are random
}


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure in the common style; draw and save it inside the block.

    Args:
        width: width in inches.
        height: height in inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        yield Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically and without metadata."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG text with a transparent background and without metadata."""
    stream = io.StringIO()
    metadata = {"Date": None, "Creator": None}
    figure.savefig(stream, format="svg", transparent=True, metadata=metadata)
    return stream.getvalue()


def set_log_ticks(axis: Axis, low: float, high: float) -> None:
    """Set few plain numbers as ticks of a logarithmic axis that shows ``low`` to ``high``."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    decades = math.log10(high / low)
    if decades < 1.0:
        axis.set_major_locator(MaxNLocator(4))
    else:
        subs = (1.0, 2.0, 5.0) if decades < 2.0 else (1.0, 3.0) if decades < 3.0 else (1.0,)
        axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter("{x:g}")
    axis.axes.minorticks_off()


def plot_learning_curve(
    epochs: Sequence[Mapping[str, Any]], metric: str, title: str, path: Path
) -> None:
    """Draw training loss and validation metric over the epochs, and mark the best epoch.

    Args:
        epochs: the lines of ``metrics.jsonl``.
        metric: validation metric, such as ``ndcg@20``.
        title: title of the picture.
        path: PNG file to write.
    """
    from matplotlib.ticker import MaxNLocator

    validated = [line for line in epochs if line["valid"]]
    with new_figure(7.5, 4.2) as figure:
        loss_axes = figure.subplots()
        _plot_loss(loss_axes, epochs)
        metric_axes = loss_axes.twinx()
        _plot_metric(metric_axes, validated, metric)
        loss_axes.set_title(title)
        loss_axes.xaxis.set_major_locator(
            MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
        )
        figure.legend(loc="outside lower center", ncols=3)
        save_png(figure, path)


def _plot_loss(axes: Axes, epochs: Sequence[Mapping[str, Any]]) -> None:
    numbers = [line["epoch"] for line in epochs]
    losses = [line["loss"] for line in epochs]
    marker = "o" if len(epochs) == 1 else None  # a line of one point is invisible
    axes.plot(numbers, losses, marker=marker, color=GRAY, label="training loss")
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.grid(visible=True)


def _plot_metric(axes: Axes, validated: Sequence[Mapping[str, Any]], metric: str) -> None:
    numbers = [line["epoch"] for line in validated]
    values = [line["valid"][metric] for line in validated]
    axes.plot(numbers, values, color=BLUE, label=f"validation {metric}")
    if values:
        best = max(range(len(values)), key=values.__getitem__)
        label = f"best: epoch {numbers[best]}, {values[best]:.4f}"
        axes.plot(numbers[best], values[best], "o", color=ORANGE, label=label)
    axes.set_ylabel(f"validation {metric}")
    axes.spines["right"].set_visible(True)
