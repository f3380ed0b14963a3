"""The picture of a search: values over the trials, and against each hyperparameter."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ld4mrec_cli.experiments.tune.search import SearchDirectory
from ld4mrec_cli.experiments.tune.space import Categorical, Range, Space
from ld4mrec_cli.plotting import BLUE, GRAY, ORANGE, new_figure, save_png, set_log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_COLUMNS = 3


def plot_search(search: SearchDirectory, space: Space, path: Path) -> None:
    """Draw value and best value so far over the trials, and value against each hyperparameter.

    At least one trial has a result; trials without one are left out. Writes a PNG.
    """
    n_panels = 1 + len(space.parameters)
    n_columns = min(MAX_COLUMNS, n_panels)
    n_rows = math.ceil(n_panels / n_columns)
    with new_figure(4.2 * n_columns, 3.2 * n_rows) as figure:
        panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        _plot_progress(panels[0], search)
        for axes, key in zip(panels[1:], space.parameters, strict=False):
            _plot_parameter(axes, search, space, key)
        for axes in panels[n_panels:]:
            axes.set_axis_off()
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        figure.suptitle(f"{search.info.model} on {search.info.dataset['name']}")
        save_png(figure, path)


def _plot_progress(axes: Axes, search: SearchDirectory) -> None:
    from matplotlib.ticker import MaxNLocator

    metric = search.info.metric
    trials = sorted(search.ranked(), key=lambda trial: trial.number)
    numbers = [trial.number for trial in trials]
    values = [trial.valid[metric] for trial in trials]
    best = [max(values[: n + 1]) for n in range(len(values))]
    axes.plot(numbers, values, "o", color=GRAY, markersize=4, label="trial")
    axes.step(
        [*numbers, len(search.trials) - 1],
        [*best, best[-1]],
        where="post",
        color=BLUE,
        label="best so far",
    )
    _mark_best(axes, search, search.ranked()[0].number)
    axes.set(xlabel="trial", ylabel=f"validation {metric}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True)


def _plot_parameter(axes: Axes, search: SearchDirectory, space: Space, key: str) -> None:
    """Plot the values of the trials against one hyperparameter."""
    parameter, metric = space.parameters[key], search.info.metric
    trials = search.ranked()
    positions = [_get_position(parameter, trial.values[key]) for trial in trials]
    points = [
        (position, trial.valid[metric])
        for position, trial in zip(positions, trials, strict=True)
        if position is not None
    ]
    axes.plot([x for x, _ in points], [y for _, y in points], "o", color=GRAY, markersize=4)
    if positions[0] is not None:
        _mark_best(axes, search, positions[0])
    if isinstance(parameter, Categorical):
        labels = [json.dumps(value).strip('"') for value in parameter.values]
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    elif parameter.log and all(x > 0 for x, _ in points):
        axes.set_xscale("log")
        set_log_ticks(axes.xaxis, parameter.low, parameter.high)
    axes.set(xlabel=key, ylabel=f"validation {metric}")
    axes.grid(visible=True)


def _get_position(parameter: Range | Categorical, value: Any) -> float | None:
    """Return the position of a value on the axis of its hyperparameter, or None.

    The value of the base configuration may be outside the choices.
    """
    if isinstance(parameter, Categorical):
        return parameter.position(value)
    return float(value) if isinstance(value, int | float) else None


def _mark_best(axes: Axes, search: SearchDirectory, position: float) -> None:
    best = search.ranked()[0]
    value = best.valid[search.info.metric]
    axes.plot([position], [value], "o", color=ORANGE, label=f"best: trial {best.number}")
