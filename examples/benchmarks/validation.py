"""Validation of a mixture: its weights are chosen from parts whose scores are computed once.

    python examples/benchmarks/validation.py --run runs/NAME

Of a trained run: a validation with all users that chooses the weights of the mixture, by whole
scores for each weight and by kept parts, beside one that chooses nothing. They take turns. Prints
medians, ratios, the chosen weights, and whether both find the same weights and metrics.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from common import machine, median_seconds, table

from ld4mrec_cli.evaluation.validation import balance_with_recall, make_validator
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.runs.evaluate import open_run_dataset
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.utils.device import resolve_device
from ld4mrec_cli.utils.threads import configure_threads


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="a run of ld4mrec with a mixture")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    configure_threads(options.threads)
    run = RunDirectory.open(options.run)
    dataset, training = open_run_dataset(run), run.config.training
    model = load_scorer(run, resolve_device(options.device))
    assert isinstance(model, LD4MRec)
    model.mixture.fitted = tuple(model.scales)
    rows = dataset.matrix("train")
    validator = make_validator(training, run.config.evaluation, dataset, rows)
    start = model.scales
    results: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    tried: list[dict[str, float]] = []

    def choose(name: str, make: Callable[[], Callable[[], dict[str, float]]]) -> None:
        model.set_scales(start)
        measure = make()
        tried.clear()

        def value() -> float:
            tried.append(model.scales)
            return balance_with_recall(measure(), training.metric)

        model.fit_scales(value)
        results[name] = measure(), model.scales

    seconds = median_seconds(
        {
            "chooses nothing": lambda: validator(model),
            "whole scores": lambda: choose("whole", lambda: lambda: validator(model)),
            "kept parts": lambda: choose("kept", lambda: validator.repeat(model)),
        },
        options.repeats,
    )
    print(machine())
    once = seconds["chooses nothing"]
    lines = [(name, f"{time:.2f}", f"{time / once:.2f}") for name, time in seconds.items()]
    print(table(("validation", "median s", "ratio"), lines))
    same = "the same" if results["whole"] == results["kept"] else f"not the same: {results}"
    print(f"{len(validator.users):,} users, {len(tried)} weights tried; both find {same}")
    print(f"chosen: {results['kept'][1]}")


if __name__ == "__main__":
    main()
