"""Time of a training epoch: LD4MRec, a dense float32 form of the same model, and baselines.

The settings are those of `examples/tiktok.yaml`: bf16 where the hardware has it, and a loss over
the target items and 512 others.

    python examples/benchmarks/training.py                       # generated, at TikTok's size
    python examples/benchmarks/training.py --data data/tiktok --config examples/tiktok.yaml

All are timed in turn in one process, with equal batch sizes. Validation is not counted.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import TIKTOK, configured, machine, median_seconds, opened, signals_of, table
from dense_reference import DenseTraining
from power_law import add_size

from ld4mrec_cli.config import Config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.models.registry import build_baseline
from ld4mrec_cli.training.trainer import Trainer
from ld4mrec_cli.utils.device import in_bf16


class Epochs:
    """Epochs of the shipped training loop, one by one."""

    def __init__(self, model: object, config: Config, data: Dataset) -> None:
        settings = config.training
        self.trainer = Trainer(
            model, data.matrix("train"), settings, lambda scorer: {settings.metric: 0.0}
        )

    def epoch(self) -> None:
        self.trainer._epoch(lambda: None)
        self.trainer.progress.epoch += 1


def ours(config: Config, precision: str, data: Dataset, signals: ItemSignals) -> Epochs:
    training = config.training.model_copy(update={"precision": precision})
    config = config.model_copy(update={"training": training})
    return Epochs(LD4MRec(config.model, config.diffusion, config.training, signals), config, data)


def baseline(name: str, settings: list[str], data: Dataset) -> Epochs:
    config = configured(None, [f"model_name={name}", *settings])
    model = build_baseline(
        name, data.matrix("train"), config.model_settings, {}, config.training.seed
    )
    return Epochs(model, config, data)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="dataset directory; one is generated otherwise")
    parser.add_argument("--config", type=Path, help="configuration of LD4MRec")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--without", action="append", default=[], help="leave one out: dense, diffrec or lightgcn"
    )
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
    config = configured(arguments.config, arguments.set)
    began = time.perf_counter()
    signals = signals_of(data, config)
    whole = configured(arguments.config, [*arguments.set, "training.sampled_items=0"])
    sampled = configured(arguments.config, [*arguments.set, "training.sampled_items=512"])
    print(machine())
    n = data.schema.splits["train"].interactions
    print(f"{data.shape[0]:,} users, {data.shape[1]:,} items, {n:,} training interactions")
    print(f"item signals, once per training: {time.perf_counter() - began:.1f} s\n", flush=True)
    precision = "bf16" if in_bf16("auto", torch.device("cpu")) else "float32"
    trainings = {
        f"ld4mrec, {precision}, 512 items sampled": lambda: ours(sampled, precision, data, signals),
        f"ld4mrec, {precision}, whole catalog": lambda: ours(whole, precision, data, signals),
        "ld4mrec, float32, whole catalog": lambda: ours(whole, "float32", data, signals),
        "dense float32 form": lambda: DenseTraining(config, signals, data.matrix("train")),
        f"diffrec (batch {config.training.batch_size})": lambda: baseline(
            "diffrec", [f"training.batch_size={config.training.batch_size}"], data
        ),
        "lightgcn (batch 2048 interactions)": lambda: baseline("lightgcn", [], data),
    }
    selected = {
        name: make()
        for name, make in trainings.items()
        if not any(word in name for word in arguments.without)
    }
    seconds = median_seconds(
        {name: training.epoch for name, training in selected.items()}, arguments.repeats
    )
    first = next(iter(seconds.values()))
    rows = [[name, f"{s:.2f}", f"{n / s:,.0f}", f"{s / first:.2f}"] for name, s in seconds.items()]
    print(table(["training", "s per epoch", "interactions per s", "time against the first"], rows))


if __name__ == "__main__":
    torch.manual_seed(0)
    np.random.default_rng(0)
    main()
