"""How time and memory of a training grow with interactions, items and users; a table and a picture.

    python examples/benchmarks/scaling.py --out scaling.png

Each size is trained for one epoch in its own process, with small widths and the losses of a large
catalog, so that the growth is visible. Time and memory of a process without data are measured, too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from common import machine, run_command, table
from power_law import dataset

SETTINGS = {
    "model.hidden_dim": 64,
    "model.collaborative_rank": 32,
    "model.ease": "false",
    "training.batch_size": 1024,
    "training.sampled_items": 2048,
    "training.validation_users": 200,
    "training.max_epochs": 1,
    "training.precision": "auto",
}
SWEEPS = {
    "interactions": [
        (n // 10, n // 50, n) for n in (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
    ],
    "items": [(100_000, n, 1_000_000) for n in (10_000, 30_000, 100_000, 300_000, 1_000_000)],
    "users": [(n, 50_000, 1_000_000) for n in (30_000, 60_000, 125_000, 250_000, 500_000)],
}
"""Users, items and interactions of each size; in the first sweep all three grow together."""


def measure(size: tuple[int, int, int], scratch: Path) -> dict[str, float]:
    """Train on generated data: seconds of the epoch and of the whole, and peak memory in GB."""
    data = dataset(scratch / "-".join(map(str, size)), *size)
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        run = Path(place) / "run"
        options = [
            part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")
        ]
        seconds, memory = run_command("train", "--data", data, "--run", run, *options)
        line = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    return {
        "epoch": line["seconds"] - line["validation_seconds"],
        "whole": seconds,
        "memory": memory,
    }


def slope(sizes: list[float], values: list[float]) -> float:
    """Exponent of the power law through the upper three sizes: 1 is linear growth."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(values[-3:]), 1)[0])


def plot(result: dict[str, list[tuple[tuple[int, int, int], dict[str, float]]]], out: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, (name, points) in zip(axes, result.items(), strict=True):
        at = [size[{"users": 0, "items": 1, "interactions": 2}[name]] for size, _ in points]
        axis.loglog(at, [values["epoch"] for _, values in points], "o-", label="an epoch, s")
        axis.loglog(
            at,
            [values["whole"] for _, values in points],
            "s-",
            label="whole training of one epoch, s",
        )
        axis.loglog(at, [values["memory"] for _, values in points], "^-", label="peak memory, GB")
        guide = np.array([at[0], at[-1]], dtype=float)
        axis.loglog(
            guide, points[-1][1]["epoch"] * guide / at[-1], ":", color="gray", label="linear"
        )
        others = {
            "interactions": "users and items grow along",
            "items": "100,000 users, 1,000,000 interactions",
        }
        axis.set_title(others.get(name, "50,000 items, 1,000,000 interactions"), fontsize=9)
        axis.set_xlabel(name)
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(out, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("scaling.png"), help="picture to write")
    parser.add_argument(
        "--largest", type=int, default=10_000_000, help="leave sizes with more interactions out"
    )
    parser.add_argument(
        "--scratch", type=Path, default=Path("benchmark-data"), help="where data are generated"
    )
    arguments = parser.parse_args()
    print(machine(), flush=True)
    result = {}
    for name, sizes in SWEEPS.items():
        result[name] = [
            (size, measure(size, arguments.scratch))
            for size in sizes
            if size[2] <= arguments.largest
        ]
        rows = [
            [
                *(f"{n:,}" for n in size),
                f"{v['epoch']:.2f}",
                f"{v['whole']:.1f}",
                f"{v['memory']:.2f}",
            ]
            for size, v in result[name]
        ]
        print(f"\n{name} grow\n")
        print(table(["users", "items", "interactions", "epoch s", "whole s", "memory GB"], rows))
        at = [size[{"users": 0, "items": 1, "interactions": 2}[name]] for size, _ in result[name]]
        for what in ("epoch", "whole", "memory"):
            print(
                f"{what} grows as {name}^{slope(at, [v[what] for _, v in result[name]]):.2f}",
                flush=True,
            )
    plot(result, arguments.out)


if __name__ == "__main__":
    main()
