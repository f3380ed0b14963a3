"""Time to solve the vectors of rows: one shared decomposition against a Gram matrix per call.

    python examples/benchmarks/least_squares.py                      # generated, at TikTok's size
    python examples/benchmarks/least_squares.py --data data/baby

The reference computes ``α₀ Σ v vᵀ`` for each call and inverts it for each length of row, in
float32, as a plain implementation of Woodbury's identity does. Both are timed in turn in one
process.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import TIKTOK, machine, median_seconds, opened, table
from power_law import add_size
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.ops.als import LeastSquares, fit_item_factors


def solve_anew(rows: csr_matrix, other: torch.Tensor, settings: IALSConfig) -> torch.Tensor:
    """The same vectors, without anything stored between calls."""
    shared = settings.unobserved_weight * (other.T @ other)
    out = other.new_zeros(rows.shape[0], other.shape[1])
    degree = np.diff(rows.indptr)
    for size in np.unique(degree[degree > 0]):
        group = np.flatnonzero(degree == size)
        frequency = int(size) + settings.unobserved_weight * rows.shape[1]
        ridge = settings.regularization * frequency**settings.frequency_exponent
        inverse = torch.linalg.inv(shared + ridge * torch.eye(len(shared)))
        vectors = other[torch.from_numpy(rows[group].indices.reshape(-1, size).astype(np.int64))]
        spread = vectors @ inverse
        small = torch.eye(int(size)) + spread @ vectors.transpose(1, 2)
        weights = torch.linalg.solve(small, torch.ones(*vectors.shape[:2], 1))
        out[torch.from_numpy(group)] = (spread.transpose(1, 2) @ weights).squeeze(2)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="dataset directory; one is generated otherwise")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--scratch", type=Path, default=Path("benchmark-data"), help="where data are generated"
    )
    add_size(parser, *TIKTOK)
    arguments = parser.parse_args()

    data = opened(
        arguments.data,
        (arguments.users, arguments.items, arguments.interactions),
        arguments.scratch,
    )
    train = data.matrix("train")
    settings = IALSConfig(
        factors=256,
        unobserved_weight=0.003,
        regularization=0.4,
        frequency_exponent=0.5,
        iterations=1,
    )
    items = fit_item_factors(train, settings, 0)
    once = LeastSquares(items, settings)
    print(machine())
    print(f"{data.shape[0]:,} users, {data.shape[1]:,} items, {settings.factors} factors\n")
    lines = []
    for count in (1, 1024):
        rows = train[:count]
        difference = (once.solve(rows) - solve_anew(rows, items, settings)).abs().max()
        ways = {
            "once": partial(once.solve, rows),
            "anew": partial(solve_anew, rows, items, settings),
        }
        seconds = median_seconds(ways, arguments.repeats)
        ratio = seconds["anew"] / seconds["once"]
        times = (f"{1000 * seconds[name]:.1f}" for name in ("once", "anew"))
        lines.append([f"{count:,}", *times, f"{ratio:.1f}", f"{difference:.0e}"])
    print(table(["rows", "shared once, ms", "anew, ms", "ratio", "largest difference"], lines))


if __name__ == "__main__":
    main()
