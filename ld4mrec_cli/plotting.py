"""The learning-curve picture of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ld4mrec_cli.utils.files import atomic_file


def plot_learning_curve(
    epochs: Sequence[Mapping[str, Any]], metric: str, title: str, path: Path
) -> None:
    """Draw training loss and validation metric over the epochs, with the chosen epoch marked.

    ``epochs`` are the lines of ``metrics.jsonl``.
    """
    from matplotlib.figure import Figure  # slow to import, needed once per run

    figure = Figure(figsize=(7.5, 4.2), dpi=110, layout="constrained")
    loss_axis = figure.subplots()
    value_axis = loss_axis.twinx()
    numbers = [line["epoch"] for line in epochs]
    validated = [line for line in epochs if line["valid"]]
    values = [line["valid"][metric] for line in validated]
    loss_line = loss_axis.plot(
        numbers, [line["loss"] for line in epochs], color="tab:gray", label="training loss"
    )
    value_line = value_axis.plot(
        [line["epoch"] for line in validated],
        values,
        color="tab:blue",
        label=f"validation {metric}",
    )
    handles = [*loss_line, *value_line]
    best = max(validated, key=lambda line: line["valid"][metric], default=None)
    if best:
        label = f"chosen: epoch {best['epoch']}, {best['valid'][metric]:.4f}"
        handles += value_axis.plot(
            best["epoch"], best["valid"][metric], "o", color="tab:orange", label=label
        )
    loss_axis.set(xlabel="epoch", ylabel="training loss", title=title)
    value_axis.set_ylabel(f"validation {metric}")
    loss_axis.legend(handles=handles, loc="center right")
    loss_axis.grid(alpha=0.3)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
