"""Evaluations of a study, each kept in a file, so that a repeated report has the same figures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.experiments.study.plan import Reading
from ld4mrec_cli.experiments.study.subject import Findings, Subject
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import WEIGHTS
from ld4mrec_cli.runs.scorer import load_scorer
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
    """Values ``(n_users,)`` of the tested metrics, or what a probe gives."""
    best_epoch: int | None
    training_seconds: float | None
    peak_memory_mb: float | None
    scoring_ms: float | None
    """Milliseconds of scoring per user, where they were measured."""


def measure(subject: Subject, reading: Reading, directory: Path) -> Measured:
    """Evaluate a run, or read what an earlier start of the study measured.

    Raises:
        UserError: the run cannot be evaluated.
    """
    suffix = f".{reading.name}" if reading.name else ""
    file = directory / f"{subject.label}-seed{subject.seed}{suffix}.json"
    key = _key(subject, reading)
    found = _read(file, key)
    if found is None:
        findings = _evaluate(subject, reading)
        found = {
            "key": key,
            "metrics": dict(findings.metrics),
            "per_user": {name: values.tolist() for name, values in findings.per_user.items()},
            "scoring_ms": time_scoring(subject, reading) if reading.is_timed else None,
        }
        write_json(file, found)
    manifest = subject.run.manifest
    return Measured(
        seed=subject.seed,
        metrics=found["metrics"],
        per_user={name: np.asarray(values) for name, values in found["per_user"].items()},
        best_epoch=manifest.best.epoch if manifest.best else None,
        training_seconds=manifest.seconds,
        peak_memory_mb=manifest.peak_memory_mb,
        scoring_ms=found["scoring_ms"],
    )


def _key(subject: Subject, reading: Reading) -> dict[str, Any]:
    """All that the figures depend on, as JSON gives it back."""
    key = {
        "weights": subject.run.manifest.files[WEIGHTS],
        "dataset": subject.dataset.hash,
        "split": subject.split,
        "options": subject.options.model_dump(mode="json"),
        "tested": subject.tested,
        "overrides": reading.overrides,
        "is_timed": reading.is_timed,
        "probe": reading.probe.as_json() if reading.probe else None,
        "seed": subject.seed if reading.probe else None,
    }
    restored: dict[str, Any] = json.loads(json.dumps(key))
    return restored


def _read(file: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("key") == key else None


def _evaluate(subject: Subject, reading: Reading) -> Findings:
    if reading.probe is not None:
        return reading.probe.evaluate(subject)
    run, config = subject.run, reading.config(subject.run.config)
    result = evaluate_run(
        run, subject.dataset, subject.split, subject.options, subject.device, config=config
    )
    return Findings(result.metrics, {name: result.per_user[name] for name in subject.tested})


def time_scoring(subject: Subject, reading: Reading) -> float:
    """Milliseconds that all scores of a user take, without loading and ranking."""
    scorer = load_scorer(subject.run, subject.device, reading.config(subject.run.config))
    rows = subject.dataset.matrix(Split.TRAIN)[:TIMED_USERS]
    size, seconds = subject.options.batch_size, []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for first in range(0, rows.shape[0], size):
            part = rows[first : first + size]
            scorer.score(part, np.arange(first, first + part.shape[0]))[0, 0].item()  # waits
        seconds.append(time.perf_counter() - start)
    return 1000.0 * min(seconds) / rows.shape[0]
