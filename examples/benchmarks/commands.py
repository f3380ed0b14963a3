"""Time and peak memory of the commands at the size of Amazon Electronics, or any other.

    python examples/benchmarks/commands.py                                       # Electronics' size
    python examples/benchmarks/commands.py --users 1000000 --items 1000000 \\
        --interactions 20000000 --epochs 1 --no-lists

Each command runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from common import ELECTRONICS, machine, opened, run_command
from power_law import add_size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="dataset directory; one is generated otherwise")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--no-lists", action="store_true", help="leave `recommend --all` out")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument(
        "--scratch", type=Path, default=Path("benchmark-data"), help="where data are generated"
    )
    add_size(parser, *ELECTRONICS)
    arguments = parser.parse_args()
    data = opened(
        arguments.data,
        (arguments.users, arguments.items, arguments.interactions),
        arguments.scratch,
    )
    settings = [
        f"training.max_epochs={arguments.epochs}",
        "training.precision=auto",
        *arguments.set,
    ]
    print(machine())
    print(
        f"{data.shape[0]:,} users, {data.shape[1]:,} items, "
        f"{data.schema.n_interactions:,} interactions",
        flush=True,
    )
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as place:
        run = Path(place) / "run"
        options = [part for setting in settings for part in ("--set", setting)]
        seconds, memory = run_command("train", "--data", data.directory, "--run", run, *options)
        lines = [
            json.loads(line)
            for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        whole = statistics.median(line["seconds"] for line in lines)
        validation = statistics.median(line["validation_seconds"] for line in lines)
        print(
            f"train: {seconds:.0f} s for {len(lines)} epochs and the item signals, "
            f"peak memory {memory:.2f} GB"
        )
        print(f"an epoch: {whole:.1f} s, of which validation {validation:.1f} s", flush=True)
        if not arguments.no_lists:
            seconds, memory = run_command(
                "recommend", "--run", run, "--all", "--k", 20, "--out", run / "lists.parquet"
            )
            print(f"recommend --all --k 20: {seconds:.0f} s, peak memory {memory:.2f} GB")


if __name__ == "__main__":
    main()
