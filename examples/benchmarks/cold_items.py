"""Held-out items: how well models recommend items of which only the content is known.

    python examples/benchmarks/cold_items.py --data data/sports --config examples/sports.yaml \\
        --epochs 5 --out cold-sports

Two samples of a tenth of the items each leave all splits. Models are trained without them, and
extended by them as `ld4mrec add-items` does. It prints a table of Recall@k among the new items,
and the whole catalog by the weight of the new items, also as OUT/curve-MODEL.png. All that is
chosen is chosen on the first sample; the table is of the second. Trained runs in --out are used
again; --folds repeats it with other samples and prints means.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import configured, machine, table

from ld4mrec_cli.api import train
from ld4mrec_cli.config import Config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.experiments.cold_items import (
    ColdItems,
    CurvePoint,
    choose_knn_size,
    choose_weight,
    compare_by_content,
    extend_models,
    hold_out_samples,
    recall_among_cold,
    score_cold,
    trace_weights,
)
from ld4mrec_cli.plotting import BLUE, GRAY, ORANGE, new_figure, save_png
from ld4mrec_cli.runs.run_directory import MANIFEST, RunDirectory
from ld4mrec_cli.utils.threads import configure_threads

KNN = "content kNN"


def trained(model: str, config: Config, cold: ColdItems, path: Path) -> RunDirectory:
    """The run of a model on the known items, which may be there already."""
    if (path / MANIFEST).is_file():
        return RunDirectory.open(path)
    return train(cold.known, model, run=path, config=config, device="cpu")


def measure_knn(cold: ColdItems, k: int) -> tuple[float, str]:
    """Recall of the content kNN on the second sample; its size is chosen on the first."""
    best = choose_knn_size(cold, k)
    knn = compare_by_content(cold, Split.TEST, best)
    return recall_among_cold(knn.score, cold, Split.TEST, k), f"best of {min(best, 999)}"


def draw(curve: Sequence[CurvePoint], chosen: float, title: str, k: int, path: Path) -> None:
    """Recall of known and new items, and the share of new ones in the lists, by the weight."""
    weights = [point.weight for point in curve]
    with new_figure(6.4, 3.6) as figure:
        axes = figure.subplots()
        axes.plot(weights, [p.warm_recall for p in curve], "o-", color=BLUE, label="known items")
        axes.plot(weights, [p.cold_recall for p in curve], "o-", color=ORANGE, label="new items")
        axes.axvline(chosen, color=GRAY, linewidth=0.8, linestyle="--")
        axes.set(xscale="log", xlabel="weight of new items", ylabel=f"Recall@{k}", title=title)
        axes.set_ylim(bottom=0.0)
        axes.grid(True)
        other = axes.twinx()
        shares = [100.0 * point.cold_share for point in curve]
        other.plot(weights, shares, ":", color=GRAY, label="new items in lists, %")
        other.set_ylabel("share of new items in lists, %")
        other.set_ylim(bottom=0.0)
        lines = [*axes.get_lines()[:2], *other.get_lines()]
        axes.legend(lines, [str(line.get_label()) for line in lines], loc="center left")
        save_png(figure, path)


def print_curve(curve: Sequence[CurvePoint], chosen: float, k: int) -> None:
    lines = [
        [
            f"{point.weight:.3g}" + (" *" if point.weight == chosen else ""),
            f"{point.warm_recall:.4f}",
            f"{point.cold_recall:.4f}",
            f"{point.recall:.4f}",
            f"{100.0 * point.cold_share:.1f} %",
        ]
        for point in curve
    ]
    names = [f"Recall@{k} known", f"Recall@{k} new", f"Recall@{k}", "new in lists"]
    print(table(["weight", *names], lines), "\n", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="dataset directory with content")
    parser.add_argument("--config", type=Path, help="settings of the models")
    parser.add_argument("--set", action="append", default=[], help="settings, such as ease.ridge=5")
    parser.add_argument("--models", nargs="+", default=["ease", "ld4mrec"])
    parser.add_argument("--epochs", type=int, help="most epochs of the training")
    parser.add_argument("--share", type=float, default=0.1, help="share of each sample")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--folds", type=int, default=1, help="pairs of samples")
    parser.add_argument("--users", type=int, default=4000, help="most users of the curve")
    parser.add_argument("--seed", type=int, default=1, help="of the first pair of samples")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="directory for datasets and runs")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    configure_threads(arguments.threads)
    settings = [*arguments.set]
    if arguments.epochs:
        settings.append(f"training.max_epochs={arguments.epochs}")
    config = configured(arguments.config, settings)
    whole, k = Dataset.open(arguments.data), arguments.k
    print(machine())
    print(f"{whole.name}: {whole.shape[0]:,} users, {whole.shape[1]:,} items\n", flush=True)
    recalls: dict[str, list[float]] = defaultdict(list)
    for seed in range(arguments.seed, arguments.seed + arguments.folds):
        out = arguments.out / f"seed-{seed}"
        out.mkdir(parents=True, exist_ok=True)
        cold = hold_out_samples(whole, out / "data", arguments.share, seed)
        recall, how = measure_knn(cold, k)
        recalls[KNN].append(recall)
        print(f"seed {seed}: {KNN} ({how}) {recall:.4f}", flush=True)
        for model in arguments.models:
            run = trained(model, config, cold, out / model)
            models = extend_models(run, cold)
            valid, test = models[Split.VALID], models[Split.TEST]
            recalls[model].append(recall_among_cold(score_cold(test), cold, Split.TEST, k))
            print(f"seed {seed}: {model} {recalls[model][-1]:.4f}", flush=True)
            if seed > arguments.seed:
                continue
            chosen = choose_weight(
                trace_weights(valid, cold, Split.VALID, k, max_users=arguments.users)
            )
            curve = trace_weights(test, cold, Split.TEST, k, max_users=arguments.users)
            print_curve(curve, chosen, k)
            draw(curve, chosen, f"{whole.name}, {model}", k, arguments.out / f"curve-{model}.png")
    base = float(np.mean(recalls[KNN]))
    lines = [
        [name, f"{np.mean(values):.4f}", f"{np.mean(values) / base:.2f}"]
        for name, values in recalls.items()
    ]
    print(table(["", f"Recall@{k} among new items", "to content kNN"], lines))


if __name__ == "__main__":
    main()
