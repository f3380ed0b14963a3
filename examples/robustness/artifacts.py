"""A small dataset and small runs, made by the commands themselves, for the campaigns to damage."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import run_command

from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic

MODELS = ("ld4mrec", "itemknn", "bpr", "ials")
"""A trained model with signals, a sparse matrix, user factors, and factors solved for."""
TINY = (
    "--set", "model.hidden_dim=8", "--set", "model.collaborative_rank=4",
    "--set", "model.modality_dim=4", "--set", "training.max_epochs=1", "--set", "bpr.factors=4",
    "--set", "ials.factors=4", "--set", "ials.iterations=2",
)  # fmt: skip


@dataclass(frozen=True)
class Artifacts:
    """Directories of one dataset and of a run per model."""

    data: Path
    runs: dict[str, Path]


def make_artifacts(where: Path, models: tuple[str, ...] = MODELS) -> Artifacts:
    """Prepare a dataset and train models on it, below ``where``."""
    raw, data = where / "raw", where / "data"
    raw.mkdir(parents=True)
    size = SyntheticSize(users=60, items=30, interactions_per_user=8, image_dim=8)
    write_synthetic(raw, seed=0, size=size)
    succeed("prepare", "--raw", raw, "--out", data, "--set", "prepare.text_dim=4")
    runs = {model: where / model for model in models}
    for model, run in runs.items():
        succeed("train", "--data", data, "--model", model, "--run", run, "--device", "cpu", *TINY)
    return Artifacts(data, runs)


def succeed(*arguments: object) -> str:
    """Run a command that must end well, and return its output."""
    outcome = run_command(*arguments)
    if outcome.code != 0:
        raise RuntimeError(f"{arguments[0]} failed: {outcome.err}")
    return outcome.out
