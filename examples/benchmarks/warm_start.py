"""What `train --init` saves in epochs: a catalog on two days, the second with and without it.

    python examples/benchmarks/warm_start.py --raw ml-100k --seeds 0 1 2
    python examples/benchmarks/warm_start.py --raw amazon_gift_cards --set training.patience=30

Today is each user's interactions split in time (80 / 10 / 10). Yesterday lacks the last tenth of
today's training interactions, and its validation data are the last tenth of what is left: no
interaction of today's validation or test split is known to it. Text features are TF-IDF of the
titles, fitted anew on each day.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

import numpy as np
import polars as pl
from common import machine, table

from ld4mrec_cli import Dataset, evaluate, prepare, train
from ld4mrec_cli.data.split_methods import temporal_split
from ld4mrec_cli.data.splits import SPLITS
from ld4mrec_cli.runs.run_directory import RunDirectory


def write_days(raw: Path, scratch: Path, share: float) -> tuple[Dataset, Dataset]:
    """Yesterday and today; ``share`` of today's training interactions are new."""
    shutil.rmtree(scratch, ignore_errors=True)
    source = prepare(raw, scratch / "source", split="temporal")
    tables = [
        source.interactions(split).with_columns(split=pl.lit(label))
        for label, split in enumerate(SPLITS)
    ]
    today = pl.concat(tables).sort("timestamp")
    in_training = today.filter(pl.col("split") == 0)
    before = in_training.head(round((1.0 - share) * len(in_training)))
    users, times = (before[name].to_numpy() for name in ("user", "timestamp"))
    labels = temporal_split(users, times, 0.1, 0.0).astype(np.int64)
    labels[np.flatnonzero(labels == 1)[-1]] = 2  # a test split must not be empty; nothing reads it
    yesterday = before.with_columns(split=pl.Series(labels))
    days = {"yesterday": yesterday, "today": today}
    first, second = (_prepare(source, scratch / name, day) for name, day in days.items())
    return first, second


def _prepare(source: Dataset, directory: Path, day: pl.DataFrame) -> Dataset:
    """Write the files of a day, and prepare them."""
    directory.mkdir()
    with (directory / "interactions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["user", "item", "split"])
        for user, item, split in day.select("user", "item", "split").iter_rows():
            writer.writerow([source.users[user], source.items[item], split])
    used = sorted(set(day["item"].to_list()))
    if source.titles is not None:
        titles = [source.titles[item] for item in used]
        table = pl.DataFrame({"item": [source.items[item] for item in used], "title": titles})
        table.write_csv(directory / "items.csv")
    return prepare(directory, directory / "data", k_core=0)


def first_epoch(run: RunDirectory, metric: str, value: float) -> int | None:
    """The first epoch that validates at ``value`` or better."""
    curve = run.validation_curve(metric)
    return next((epoch for epoch, found in sorted(curve.items()) if found >= value), None)


def best_of(run: RunDirectory, metric: str) -> float:
    """The best validation value of an epoch, before the weights of a mixture are chosen."""
    return max(run.validation_curve(metric).values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raw", type=Path, required=True, help="raw data with times")
    parser.add_argument("--model", default="ld4mrec")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=float, default=0.1, help="of today's that is new")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--scratch", type=Path, default=Path("benchmark-data/warm-start"))
    arguments = parser.parse_args()
    settings = dict(one.split("=", 1) for one in arguments.set)
    yesterday, today = write_days(arguments.raw, arguments.scratch, arguments.share)
    print(machine())
    print(f"yesterday {yesterday.shape}, today {today.shape} (users, items)\n")
    rows = []
    for seed in arguments.seeds:
        common = {"model": arguments.model, "seed": seed, "device": "cpu", "settings": settings}
        runs = arguments.scratch / f"runs-{seed}"
        old = train(yesterday, run=runs / "yesterday", **common)
        fresh = train(today, run=runs / "fresh", **common)
        warm = train(today, run=runs / "warm", init=old, **common)
        metric = fresh.config.training.metric
        level = best_of(fresh, metric)
        for name, run in (("fresh", fresh), ("--init", warm)):
            reached = first_epoch(run, metric, level)
            best = run.validation_curve(metric)
            test = evaluate(run, "test", k=[20])
            rows.append(
                [
                    f"{seed}, {name}",
                    str(max(best, key=lambda epoch: best[epoch])),
                    "never" if reached is None else str(reached),
                    str(first_epoch(run, metric, 0.99 * level) or "never"),
                    f"{best_of(run, metric):.4f}",
                    f"{run.manifest.best.value:.4f}" if run.manifest.best else "",
                    f"{test['ndcg@20']:.4f}",
                    f"{run.manifest.seconds:.0f}",
                ]
            )
        for note in warm.manifest.notes:
            print(f"seed {seed}: {note}")
    columns = ["seed", "best epoch", "fresh's best from epoch", "99 % of it", "best valid"]
    print(table([*columns, "with mixture", "test ndcg@20", "seconds"], rows))


if __name__ == "__main__":
    main()
