"""The picture of a search."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ld4mrec_cli.experiments.tune.search import SearchDirectory
from ld4mrec_cli.experiments.tune.space import Categorical, Range, Space
from ld4mrec_cli.utils.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3


def plot_search(search: SearchDirectory, space: Space, path: Path) -> None:
    """Draw value and best value so far over the trials, and value against each setting.

    At least one trial has a result; trials without one are not drawn.
    """
    from matplotlib.figure import Figure  # slow to import, needed once per search

    n_panels = 1 + len(space.parameters)
    columns = min(COLUMNS, n_panels)
    rows = math.ceil(n_panels / columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    _draw_progress(axes[0], search)
    for axis, key in zip(axes[1:], space.parameters, strict=False):
        _draw_setting(axis, search, space, key)
    for axis in axes[n_panels:]:
        axis.set_axis_off()
    figure.suptitle(f"{search.info.model} on {search.info.dataset['name']}", parse_math=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_progress(axis: Axes, search: SearchDirectory) -> None:
    from matplotlib.ticker import MaxNLocator

    metric = search.info.metric
    found = sorted(search.ranked(), key=lambda trial: trial.number)
    numbers = [trial.number for trial in found]
    values = [trial.valid[metric] for trial in found]
    so_far = [max(values[: n + 1]) for n in range(len(values))]
    axis.plot(numbers, values, "o", color="tab:gray", markersize=4, label="trial")
    axis.step(
        [*numbers, len(search.trials) - 1],
        [*so_far, so_far[-1]],
        where="post",
        color="tab:blue",
        label="best",
    )
    _mark_best(axis, search, search.ranked()[0].number)
    axis.set(xlabel="trial", ylabel=f"validation {metric}")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")


def _draw_setting(axis: Axes, search: SearchDirectory, space: Space, key: str) -> None:
    parameter = space.parameters[key]
    placed = [(_place(parameter, trial.values[key]), trial) for trial in search.ranked()]
    points = [
        (place, trial.valid[search.info.metric]) for place, trial in placed if place is not None
    ]
    axis.plot(
        [place for place, _ in points],
        [value for _, value in points],
        "o",
        color="tab:gray",
        markersize=4,
    )
    best_place = placed[0][0]
    if best_place is not None:
        _mark_best(axis, search, best_place)
    if isinstance(parameter, Categorical):
        labels = [json.dumps(value).strip('"') for value in parameter.values]
        axis.set_xticks(range(len(labels)), labels, parse_math=False)
        axis.set_xlim(-0.5, len(labels) - 0.5)
    elif parameter.log and all(place > 0 for place, _ in points):
        _set_log_scale(axis, parameter)
    axis.set_xlabel(key)
    axis.grid(alpha=0.3)


def _set_log_scale(axis: Axes, interval: Range) -> None:
    """A logarithmic axis with four numbers, which do not overlap."""
    ticks = np.geomspace(interval.low, interval.high, 4)
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{float(f'{tick:.2g}'):g}" for tick in ticks])
    axis.minorticks_off()


def _place(parameter: Range | Categorical, value: Any) -> float | None:
    """Position of a value on the axis of its setting; None if the axis does not hold it."""
    if isinstance(parameter, Categorical):
        return parameter.position(value)
    return float(value) if isinstance(value, int | float) else None


def _mark_best(axis: Axes, search: SearchDirectory, place: float) -> None:
    best = search.ranked()[0]
    axis.plot(
        [place],
        [best.valid[search.info.metric]],
        "o",
        color="tab:orange",
        label=f"best: trial {best.number}",
    )
