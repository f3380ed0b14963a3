"""Generate a dataset of any size whose users and items follow power laws.

    python examples/benchmarks/power_law.py --users 192403 --items 63001 \\
        --interactions 1689188 --out /tmp/electronics

Items belong to clusters, and users prefer the items of their cluster, so there is a pattern to
learn. The same arguments give the same files; an existing directory is used again. The other
benchmarks call :func:`dataset`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

CHUNK = 4_000_000
ITEMS_PER_CLUSTER = 500
SHELVES = 100
"""Values of the catalog's column `shelf`, each of as many items, for filters."""
LOYALTY = 0.8
"""Share of the interactions that stay in the user's cluster."""
OVERSHOOT = 1.25
"""BatchRNG per interaction asked for: the same pair may come up twice, and then counts once."""


def ranks(rng: np.random.Generator, n: np.ndarray | int, count: int) -> np.ndarray:
    """``count`` indices below ``n``; the frequency of rank r is proportional to 1 / sqrt(r)."""
    return np.minimum((n * rng.random(count) ** 2).astype(np.int64), np.asarray(n) - 1)


def pairs(user: np.ndarray, items: int, rng: np.random.Generator) -> np.ndarray:
    """An item for each ``user``, as ``user * items + item``.

    In each cluster, the most popular items have the lowest indices.
    """
    n_clusters, count = max(1, items // ITEMS_PER_CLUSTER), len(user)
    home = (
        user * 2_654_435_761
    ) % n_clusters  # Knuth's multiplicative hash: busy users are spread over the clusters
    away = ranks(rng, n_clusters, count)
    cluster = np.where(rng.random(count) < LOYALTY, home, away)
    sizes = items // n_clusters + (cluster < items % n_clusters)
    item = cluster + n_clusters * ranks(rng, sizes, count)
    return user * items + item


def interactions(users: int, items: int, count: int, seed: int) -> np.ndarray:
    """``count`` distinct pairs as ``user * items + item``, ascending; every user has one."""
    rng = np.random.default_rng(seed)
    first = pairs(np.arange(users), items, rng)
    pairs_so_far = first
    while len(pairs_so_far) < count:
        missing = int((count - len(pairs_so_far)) * OVERSHOOT)
        sizes = [min(CHUNK, missing - start) for start in range(0, missing, CHUNK)]
        pairs_so_far = np.unique(
            np.concatenate(
                [pairs_so_far, *(pairs(ranks(rng, users, size), items, rng) for size in sizes)]
            )
        )
    others = np.setdiff1d(pairs_so_far, first, assume_unique=True)
    return np.sort(np.concatenate([first, rng.choice(others, count - len(first), replace=False)]))


def dataset(out: Path, users: int, items: int, count: int, seed: int = 0) -> Path:
    """Write the dataset directory ``out`` by `ld4mrec prepare`, unless it is there."""
    if (out / "schema.json").exists():
        return out
    raw = out.with_name(out.name + "-raw")
    raw.mkdir(parents=True, exist_ok=True)
    keys = interactions(users, items, count, seed)
    table = pl.DataFrame({"user": keys // items, "item": keys % items})
    table.write_parquet(raw / "interactions.parquet")
    # The catalog keeps the size asked for, whether each item was drawn or not.
    catalog = pl.DataFrame({"item": np.arange(items), "shelf": np.arange(items) % SHELVES})
    catalog.write_parquet(raw / "items.parquet")
    options = ["--k-core", "0", "--split", "random", "--overwrite"]
    command = [
        sys.executable,
        "-m",
        "ld4mrec_cli",
        "prepare",
        "--raw",
        str(raw),
        "--out",
        str(out),
        *options,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def add_size(parser: argparse.ArgumentParser, users: int, items: int, count: int) -> None:
    """Options for the size of the generated data, with defaults."""
    parser.add_argument("--users", type=int, default=users)
    parser.add_argument("--items", type=int, default=items)
    parser.add_argument("--interactions", type=int, default=count)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_size(parser, 192_403, 63_001, 1_689_188)
    parser.add_argument("--out", type=Path, required=True, help="dataset directory to write")
    arguments = parser.parse_args()
    began = time.perf_counter()
    dataset(arguments.out, arguments.users, arguments.items, arguments.interactions)
    print(f"written in {time.perf_counter() - began:.0f} s: {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
