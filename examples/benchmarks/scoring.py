"""Scoring: one step against the reverse chain, latency for one user, top-20 lists of `implicit`.

    python examples/benchmarks/scoring.py    # at the sizes of TikTok and Amazon Electronics
    pip install implicit                     # for the last part; skipped without it

Scoring means ranking: the twenty best items of each user, without the user's own items.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from common import (
    ELECTRONICS,
    TIKTOK,
    configured,
    machine,
    median_seconds,
    opened,
    run_command,
    signals_of,
    table,
)
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.evaluation.ranking import Scorer, batches, rank
from ld4mrec_cli.models.ials import IALS
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.serving.recommender import Recommender

K, BATCH = 20, 1024


def rank_all(scorer: Scorer, rows: csr_matrix, users: np.ndarray) -> None:
    """The K best items of each of ``users``, in batches."""
    for batch in batches(users, BATCH):
        rank(scorer, rows[batch], rows[batch], K, batch)


def rows_of(seconds: dict[str, float], n_users: int) -> list[list[str]]:
    first = next(iter(seconds.values()))
    return [
        [name, f"{s:.2f}", f"{n_users / s:,.0f}", f"{s / first:.2f}"] for name, s in seconds.items()
    ]


def steps(data: Dataset, repeats: int) -> None:
    """One step against K, of one and the same model but for the number of steps."""
    noisy = ["diffusion.noise_scale=0.1", "diffusion.steps=40", "model.ease=false"]
    signals = signals_of(data, configured(None, noisy))
    rows, users = data.matrix("train"), np.arange(min(2048, data.shape[0]))
    works = {}
    for n in (1, 10, 40):
        config = configured(None, [*noisy, f"diffusion.inference_steps={n}"])
        model = LD4MRec(config.model, config.diffusion, config.training, signals).eval()
        works[f"{n} steps" if n > 1 else "one step"] = lambda model=model: rank_all(
            model, rows, users
        )
    seconds = median_seconds(works, repeats)
    print(f"\n{len(users):,} users, {data.shape[1]:,} items\n")
    print(
        table(
            ["inference", "s", "users per s", "time against one step"], rows_of(seconds, len(users))
        ),
        flush=True,
    )


def waiting(data: Dataset, scratch: Path) -> None:
    """Latency of a list for one user, in a loaded model with EASE and item side."""
    run = scratch / f"run-{os.getpid()}"
    run_command("train", "--data", data.directory, "--run", run, "--set", "training.max_epochs=1")
    recommender = Recommender(RunDirectory.open(run), torch.device("cpu"))
    rng, milliseconds = np.random.default_rng(0), []
    for user in rng.choice(len(recommender.users), 300, replace=False):
        began = time.perf_counter()
        list(recommender.for_users([recommender.users[user]], K))
        milliseconds.append(1000.0 * (time.perf_counter() - began))
    late = sorted(milliseconds[1:])[int(0.99 * (len(milliseconds) - 1))]
    print(
        f"\none user: first request {milliseconds[0]:.1f} ms, "
        f"then median {statistics.median(milliseconds[1:]):.2f} ms,",
        end=" ",
    )
    print(f"99 of 100 within {late:.2f} ms", flush=True)


def against_implicit(data: Dataset, factors: int, n_users: int, repeats: int) -> None:
    """Lists for ``n_users``: inner products of ``factors`` numbers in each case."""
    try:
        from implicit.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError:
        print("\nwithout the comparison with `implicit`, which is not installed")
        return
    rows, users = data.matrix("train"), np.arange(min(n_users, data.shape[0]))
    half = factors // 2
    widths = [f"model.hidden_dim={half}", f"model.collaborative_rank={half}", "model.ease=false"]
    config: Config = configured(None, widths)
    ours = LD4MRec(config.model, config.diffusion, config.training, signals_of(data, config)).eval()
    vectors = torch.randn(data.shape[1], factors, generator=torch.Generator().manual_seed(0))
    ials = IALS(vectors, config.ials)
    reference = AlternatingLeastSquares(
        factors=factors, iterations=1, num_threads=torch.get_num_threads()
    )
    with threadpool_limits(1, user_api="blas"):  # as `implicit` asks for in training
        reference.fit(rows, show_progress=False)
    works = {
        f"implicit, ALS, {factors} factors": lambda: reference.recommend(
            users, rows[users], N=K, filter_already_liked_items=True
        ),
        f"ld4mrec, {half} + {half}": lambda: rank_all(ours, rows, users),
        f"ials of ld4mrec, {factors} factors": lambda: rank_all(ials, rows, users),
    }
    seconds = median_seconds(works, repeats)
    print(
        f"\n{data.shape[0]:,} users, {data.shape[1]:,} items: "
        f"the {K} best for {len(users):,} users\n"
    )
    print(
        table(
            ["recommender", "s", "users per s", "time against implicit"],
            rows_of(seconds, len(users)),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--factors", type=int, default=256)
    parser.add_argument(
        "--large-users",
        type=int,
        default=16_384,
        help="users that lists are made for, with `implicit`",
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="dataset directory for steps and waiting time; generated otherwise",
    )
    parser.add_argument(
        "--large", type=Path, help="dataset directory for `implicit`; generated otherwise"
    )
    parser.add_argument(
        "--scratch", type=Path, default=Path("benchmark-data"), help="where data are generated"
    )
    arguments = parser.parse_args()
    print(machine())
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    small = opened(arguments.data, TIKTOK, arguments.scratch)
    steps(small, arguments.repeats)
    waiting(small, arguments.scratch)
    large = opened(arguments.large, ELECTRONICS, arguments.scratch)
    against_implicit(large, arguments.factors, arguments.large_users, arguments.repeats)


if __name__ == "__main__":
    main()
