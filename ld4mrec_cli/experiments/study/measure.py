"""Evaluations of a study, each kept in a file, so that a repeated report has the same figures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.experiments.study.plan import Reading
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import WEIGHTS, RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.files import write_json

TIMED_USERS = 2048
"""Users whose scores are timed, in batches; the fastest of REPEATS passes counts."""
REPEATS = 3


@dataclass(frozen=True)
class Measured:
    """One evaluation of one training."""

    seed: int
    metrics: Mapping[str, float]
    per_user: Mapping[str, np.ndarray]
    """Values ``(n_users,)`` of the tested metrics."""
    best_epoch: int | None
    training_seconds: float | None
    peak_memory_mb: float | None
    scoring_ms: float | None
    """Milliseconds of scoring per user, where they were measured."""


def measure(
    run: RunDirectory,
    seed: int,
    dataset: Dataset,
    split: str,
    options: EvaluationConfig,
    tested: tuple[str, ...],
    reading: Reading,
    device: torch.device,
    directory: Path,
) -> Measured:
    """Evaluate a run, or read what an earlier start of the study measured.

    Raises:
        UserError: the run cannot be evaluated.
    """
    file = directory / f"{run.path.name}{f'.{reading.name}' if reading.name else ''}.json"
    key = _key(run, dataset, split, options, tested, reading)
    found = _read(file, key)
    if found is None:
        found = {"key": key, **_evaluate(run, dataset, split, options, tested, reading, device)}
        write_json(file, found)
    manifest = run.manifest
    return Measured(
        seed=seed,
        metrics=found["metrics"],
        per_user={name: np.asarray(found["per_user"][name]) for name in tested},
        best_epoch=manifest.best.epoch if manifest.best else None,
        training_seconds=manifest.seconds,
        peak_memory_mb=manifest.peak_memory_mb,
        scoring_ms=found["scoring_ms"],
    )


def _key(
    run: RunDirectory,
    dataset: Dataset,
    split: str,
    options: EvaluationConfig,
    tested: tuple[str, ...],
    reading: Reading,
) -> dict[str, Any]:
    """All that the figures depend on, as JSON gives it back."""
    key = {
        "weights": run.manifest.files[WEIGHTS],
        "dataset": dataset.hash,
        "split": split,
        "options": options.model_dump(mode="json"),
        "tested": tested,
        "overrides": reading.overrides,
        "is_timed": reading.is_timed,
    }
    restored: dict[str, Any] = json.loads(json.dumps(key))
    return restored


def _read(file: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("key") == key else None


def _evaluate(
    run: RunDirectory,
    dataset: Dataset,
    split: str,
    options: EvaluationConfig,
    tested: tuple[str, ...],
    reading: Reading,
    device: torch.device,
) -> dict[str, Any]:
    config = reading.config(run.config)
    result = evaluate_run(run, dataset, split, options, device, config=config)
    return {
        "metrics": result.metrics,
        "per_user": {name: result.per_user[name].tolist() for name in tested},
        "scoring_ms": time_scoring(run, dataset, reading, options, device),
    }


def time_scoring(
    run: RunDirectory,
    dataset: Dataset,
    reading: Reading,
    options: EvaluationConfig,
    device: torch.device,
) -> float | None:
    """Milliseconds that all scores of a user take, without loading and ranking."""
    if not reading.is_timed:
        return None
    scorer = load_scorer(run, device, reading.config(run.config))
    rows = dataset.matrix(Split.TRAIN)[:TIMED_USERS]
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for first in range(0, rows.shape[0], options.batch_size):
            part = rows[first : first + options.batch_size]
            scorer.score(part, np.arange(first, first + part.shape[0]))[0, 0].item()  # waits
        seconds.append(time.perf_counter() - start)
    return 1000.0 * min(seconds) / rows.shape[0]
