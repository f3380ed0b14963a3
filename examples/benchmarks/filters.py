"""CPU time of `recommend` with filters, beside that without, at the size of Amazon Electronics.

    python examples/benchmarks/filters.py                      # LD4MRec without item weights
    python examples/benchmarks/filters.py --model ials --repeats 1

One model is trained for one epoch. Then the commands take turns, each in a process of its own; the
table has the median of their CPU seconds and its ratio to the time without a filter.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from common import ELECTRONICS, machine, opened, run_command, run_for_cpu_seconds, table
from power_law import SHELVES, add_size

SHARES = (0.01, 0.1, 0.5, 0.95)
SETTINGS = ("training.max_epochs=1", "training.precision=auto", "training.sampled_items=2048")


def write_filters(n_items: int, place: Path) -> dict[str, list[str]]:
    """Options of each filter, by its name; the items are drawn from a fixed seed."""
    filters = {"none": [], f"--where, 1/{SHELVES} of the items": ["--where", "shelf=7"]}
    order = np.random.default_rng(0).permutation(n_items)
    for share in SHARES:
        file = place / f"{share}.csv"
        chosen = np.sort(order[: round(share * n_items)])
        pl.DataFrame({"item": chosen.astype(str)}).write_csv(file)
        filters[f"--items-file, {share:.0%}"] = ["--items-file", str(file)]
    return filters


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="dataset directory; one is generated otherwise")
    parser.add_argument("--model", default="ld4mrec")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--customers", type=int, default=20_000, help="users that get a list")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--scratch", type=Path, default=Path("benchmark-data"), help="where data are generated"
    )
    add_size(parser, *ELECTRONICS)
    arguments = parser.parse_args()
    size = (arguments.users, arguments.items, arguments.interactions)
    data = opened(arguments.data, size, arguments.scratch)
    print(machine())
    print(f"{data.shape[1]:,} items, lists of {arguments.customers:,} users", flush=True)
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        place = Path(scratch)
        settings = [*(SETTINGS if arguments.model == "ld4mrec" else ()), *arguments.set]
        options = [part for setting in settings for part in ("--set", setting)]
        train = ("train", "--data", data.directory, "--model", arguments.model)
        run_command(*train, "--run", place / "run", *options)
        users = place / "users.txt"
        users.write_text("".join(f"{user}\n" for user in range(arguments.customers)))
        filters = write_filters(data.shape[1], place)
        seconds: dict[str, list[float]] = {name: [] for name in filters}
        command = ("recommend", "--run", place / "run", "--users-file", users, "--k", 20)
        for _ in range(arguments.repeats):
            for name, chosen in filters.items():
                out = ("--out", place / "lists.csv")
                seconds[name].append(run_for_cpu_seconds(*command, *out, *chosen))
    whole = statistics.median(seconds["none"])
    rows = [
        [name, f"{statistics.median(times):.1f}", f"{statistics.median(times) / whole:.2f}"]
        for name, times in seconds.items()
    ]
    print(table(["filter", "CPU s", "ratio"], rows))


if __name__ == "__main__":
    main()
