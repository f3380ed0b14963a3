"""EASE weights, dense and approximate: time, memory, and what the approximation loses.

    python examples/benchmarks/item_weights.py --data data/sports --neighbors 100 200 \\
        --set ease.ridge=400 --set ease.degree_ridge=1 --set ease.user_exponent=0.5 \\
        --set ease.content_weight=8
    python examples/benchmarks/item_weights.py --no-dense --features 384   # at Electronics' size

Each form is fitted in a process of its own, in turn, so each has its own peak memory. Accuracy is
that on the validation split. Without --data, a dataset of Electronics' size is generated, with
--features random columns of features for each item.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import ELECTRONICS, configured, machine, opened, table
from power_law import add_size

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.evaluation.validation import make_validator
from ld4mrec_cli.models.ease import EASE
from ld4mrec_cli.utils.memory import peak_memory_mb
from ld4mrec_cli.utils.threads import configure_threads


def features_of(data: Dataset, columns: int) -> dict[str, np.ndarray]:
    """The features of the dataset, or random ones where ``columns`` is not 0."""
    if columns:
        values = np.random.default_rng(0).normal(size=(data.shape[1], columns))
        return {"random": values.astype(np.float32)}
    return {name: data.modality(name).values for name in data.modality_names(None)}


def measure(data: Dataset, arguments: argparse.Namespace, neighbors: int) -> dict[str, float]:
    """Fit and validate one form; ``neighbors`` 0 is the dense one."""
    settings = configured(None, arguments.set)
    form = {"max_items": data.shape[1]} if not neighbors else {"max_items": 1}
    ease = settings.ease.model_copy(update={**form, "neighbors": max(neighbors, 1)})
    train, features = data.matrix("train"), features_of(data, arguments.features)
    start, cpu = time.perf_counter(), time.process_time()
    model = EASE.fit(train, ease, features, 0)
    fitted = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    size = sum(array.nbytes for array in model.arrays().values()) / 1e6
    training = settings.training.model_copy(update={"validation_users": arguments.validation_users})
    start = time.perf_counter()
    valid = make_validator(training, settings.evaluation, data, train)(model)
    scored = time.perf_counter() - start
    return {**fitted, "mb": size, "scored": scored, "peak": peak_memory_mb() or 0.0, **valid}


def measure_apart(data: Path, arguments: argparse.Namespace, neighbors: int) -> dict[str, float]:
    """:func:`measure` in a process of its own."""
    options = ["--data", str(data), "--features", str(arguments.features), "--form", str(neighbors)]
    options += ["--threads", str(arguments.threads)]
    options += [part for setting in arguments.set for part in ("--set", setting)]
    if arguments.validation_users is not None:
        options += ["--validation-users", str(arguments.validation_users)]
    output = subprocess.check_output([sys.executable, __file__, *options], text=True)
    result: dict[str, float] = json.loads(output)
    return result


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="dataset directory; one is generated otherwise")
    parser.add_argument("--neighbors", type=int, nargs="+", default=[200])
    parser.add_argument("--no-dense", action="store_true", help="leave the dense form out")
    parser.add_argument("--features", type=int, default=0, help="random columns for each item")
    parser.add_argument("--validation-users", type=int, help="users of the validation")
    parser.add_argument("--set", action="append", default=[], help="settings, such as ease.ridge=5")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--scratch", type=Path, default=Path("benchmark-data"), help="where data are generated"
    )
    parser.add_argument("--form", type=int, help=argparse.SUPPRESS)  # measure this one, print JSON
    add_size(parser, *ELECTRONICS)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    configure_threads(arguments.threads)
    size = (arguments.users, arguments.items, arguments.interactions)
    data = opened(arguments.data, size, arguments.scratch)
    if arguments.form is not None:
        print(json.dumps(measure(data, arguments, arguments.form)))
        return
    print(machine())
    print(f"{data.name}: {data.shape[0]:,} users, {data.shape[1]:,} items\n")
    lines, dense = [], None
    for neighbors in [*([] if arguments.no_dense else [0]), *arguments.neighbors]:
        result = measure_apart(data.directory, arguments, neighbors)
        dense = result if not neighbors else dense
        share = f"{result['ndcg@20'] / dense['ndcg@20']:.3f}" if dense else "-"
        figures = [f"{result[name]:.1f}" for name in ("seconds", "cpu", "scored")]
        figures += [f"{result['peak'] / 1000:.2f}", f"{result['mb']:.0f}"]
        figures += [f"{result[name]:.5f}" for name in ("recall@20", "ndcg@20")]
        lines.append([f"{neighbors} neighbors" if neighbors else "dense", *figures, share])
    columns = ["EASE weights", "fit, s", "CPU s", "validation, s", "peak, GB", "weights, MB"]
    print(table([*columns, "Recall@20", "NDCG@20", "NDCG to dense"], lines))


if __name__ == "__main__":
    main()
