"""Comparisons on a small planted dataset, trained in this process."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.experiments.compare.comparison import compare
from ld4mrec_cli.experiments.compare.plan import Plan, plan_comparison
from ld4mrec_cli.experiments.compare.results import Comparison
from ld4mrec_cli.experiments.compare.systems import read_systems, shared_dataset
from ld4mrec_cli.experiments.subprocess_training import ERROR, TrainingFailed

TINY = {
    "model": {"hidden_dim": 16, "collaborative_rank": 8, "modality_dim": 8, "ease": False},
    "training": {"device": "cpu", "max_epochs": 2, "batch_size": 64},
}
"""A configuration that trains within a second."""


@dataclass
class TrainHere:
    """Stands in for a training in a process of its own, and keeps the arguments of each."""

    calls: list[Sequence[str]] = field(default_factory=list)
    before: Callable[[int], None] = lambda number: None
    """Called with the number of the training, from 1, before it."""

    def __call__(self, arguments, log):
        self.calls.append(arguments)
        self.before(len(self.calls))
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            code = run(["train", *arguments])
        if code:
            fault = said.getvalue().splitlines()[-1].removeprefix(ERROR)
            # Interrupted as when the comparison is, and passes it on to the training.
            raise KeyboardInterrupt if fault.startswith("interrupted") else TrainingFailed(fault)


@dataclass
class Bench:
    """Makes configuration files and comparisons in a directory."""

    root: Path
    data: Path
    train: TrainHere = field(default_factory=TrainHere)
    said: list[str] = field(default_factory=list)

    def file(self, name: str, **sections) -> str:
        """Write a configuration: the tiny one with some sections extended."""
        values = {
            **TINY,
            **{key: {**TINY.get(key, {}), **value} for key, value in sections.items()},
        }
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(values))
        return str(path)

    def plan(
        self,
        configs=(),
        models=(),
        overrides=(),
        *,
        seeds=(0,),
        split="test",
        metric="ndcg@20",
        out="out",
        **flags,
    ) -> Plan:
        given = {
            "data.path": str(self.data),
            **{name.replace("__", "."): value for name, value in flags.items()},
        }
        systems = read_systems(configs, models, overrides, given)
        device = torch.device("cpu")
        return plan_comparison(
            systems, [shared_dataset(systems)], seeds, split, metric, device, self.root / out
        )

    def compare(self, *arguments, **options) -> Comparison:
        return compare(self.plan(*arguments, **options), self.said.append, self.train)
