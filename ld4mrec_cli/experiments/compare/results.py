"""Content of ``comparison.json`` (docs/compare.md explains every key)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from ld4mrec_cli.experiments.directories import has_result

FORMAT = "ld4mrec-comparison"
VERSION = 1
RESULT = "comparison.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunResult(_Record):
    """One training and its evaluation. ``error``: why it failed; the figures are then missing."""

    seed: int
    path: str
    """Inside the directory; of given lists, the file."""
    fold: int | None = None
    """Number of the fold, from 1; None where there are no folds."""
    error: str | None = None
    best_epoch: int | None = None
    device: str | None = None
    training_seconds: float | None = None
    peak_memory_mb: float | None = None
    evaluation_seconds: float | None = None
    users_per_second: float | None = None
    metrics: dict[str, float] = {}
    """The metrics of `ld4mrec evaluate` for the run."""


class Spread(_Record):
    """Mean and sample deviation over seeds or folds; ``std`` is None for fewer than two."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(
            mean=statistics.fmean(values), std=statistics.stdev(values) if len(values) > 1 else None
        )


class SystemResult(_Record):
    """A system and its runs; means are over the runs that worked, and missing where none did."""

    label: str
    model: str
    config_file: str | None
    uses_seed: bool
    runs: list[RunResult]
    metrics: dict[str, Spread]
    training_seconds: float | None
    users_per_second: float | None
    peak_memory_mb: float | None
    """The highest of its runs."""

    @classmethod
    def of(
        cls, label: str, model: str, config_file: str | None, uses_seed: bool, runs: list[RunResult]
    ) -> Self:
        """Sum up the runs."""
        worked = [run for run in runs if run.error is None]
        names = worked[0].metrics if worked else ()
        seconds = [run.training_seconds for run in worked if run.training_seconds is not None]
        speeds = [run.users_per_second for run in worked if run.users_per_second is not None]
        return cls(
            label=label,
            model=model,
            config_file=config_file,
            uses_seed=uses_seed,
            runs=runs,
            metrics={name: Spread.of(_repetitions(worked, name)) for name in names},
            training_seconds=statistics.fmean(seconds) if seconds else None,
            users_per_second=statistics.fmean(speeds) if speeds else None,
            peak_memory_mb=max(
                (run.peak_memory_mb for run in worked if run.peak_memory_mb is not None),
                default=None,
            ),
        )

    @property
    def done(self) -> list[RunResult]:
        """The runs that worked."""
        return [run for run in self.runs if run.error is None]

    @property
    def worked(self) -> bool:
        """Whether a run worked, with folds one in each."""
        return bool(self.done) and {run.fold for run in self.runs} == {
            run.fold for run in self.done
        }


def _repetitions(runs: Sequence[RunResult], metric: str) -> list[float]:
    """A value for each seed; with folds, the mean over seeds of each fold."""
    if runs[0].fold is None:
        return [run.metrics[metric] for run in runs]
    by_fold: dict[int | None, list[float]] = {}
    for run in runs:
        by_fold.setdefault(run.fold, []).append(run.metrics[metric])
    return [statistics.fmean(values) for values in by_fold.values()]


class PairResult(_Record):
    """System ``a`` minus ``b``, paired over users; a user's value is a mean over seeds and folds.

    See :class:`ld4mrec_cli.evaluation.significance.PairedTest`.
    """

    a: str
    b: str
    difference: float
    low: float
    high: float
    over_seeds: bool
    """Whether the chance of seeds is in ``p`` and interval; else they hold for these runs alone."""
    p: float
    p_holm: float
    detectable: float | None
    """The smallest true difference that the corrected test would probably show."""
    wilcoxon_p: float
    rank_balance: float
    a_better: int
    b_better: int
    equal: int
    significant: bool
    """``p_holm`` is below 0.05, and the interval lies on the side of the mean."""

    def seen_from(self, label: str) -> PairResult:
        """The same with ``label`` as ``a``."""
        if label == self.a:
            return self
        names = {"a": self.b, "b": self.a, "a_better": self.b_better, "b_better": self.a_better}
        signs = {"difference": -self.difference, "low": -self.high, "high": -self.low}
        signs["rank_balance"] = -self.rank_balance
        return self.model_copy(update={**names, **signs})


class DatasetRecord(_Record):
    """The dataset that all systems were trained on."""

    name: str
    path: str
    hash: str
    n_users: int
    n_items: int


class Comparison(_Record):
    """Content of ``comparison.json``."""

    format: Literal["ld4mrec-comparison"] = "ld4mrec-comparison"
    version: Literal[1] = 1
    status: Literal["complete"] = "complete"
    ld4mrec: str
    created: str
    dataset: DatasetRecord
    """The dataset, or the first fold."""
    folds: list[DatasetRecord] = []
    """The folds, where there are several datasets."""
    split: str
    mask: str
    k: list[int]
    n_users: int | None
    """Users that count: those with a target in the split, of any fold; None where no system
    worked."""
    metric: str
    tested: list[str]
    seeds: list[int]
    resamples: int
    systems: list[SystemResult]
    pairs: dict[str, list[PairResult]]

    @property
    def data_name(self) -> str:
        """Name of the dataset, or of the folds."""
        if not self.folds:
            return self.dataset.name
        return f"{self.folds[0].name} … {self.folds[-1].name} ({len(self.folds)} folds)"

    @property
    def working(self) -> list[SystemResult]:
        """Systems with at least one run that worked."""
        return [system for system in self.systems if system.worked]

    def ranked(self, metric: str) -> list[SystemResult]:
        """Systems that worked, the best first; equal ones in the order given."""
        return sorted(self.working, key=lambda system: -system.metrics[metric].mean)

    def against(self, metric: str, label: str, other: str) -> PairResult:
        """The test of ``label`` against ``other``."""
        pair = next(pair for pair in self.pairs[metric] if {pair.a, pair.b} == {label, other})
        return pair.seen_from(label)

    def against_best_other(self, metric: str, label: str) -> PairResult | None:
        """The test of ``label`` against the best of the others; None where there is no other."""
        others = [system.label for system in self.ranked(metric) if system.label != label]
        return self.against(metric, label, others[0]) if others else None


def is_comparison(directory: Path) -> bool:
    """Whether `ld4mrec compare` created the directory, also if it was killed at once."""
    return has_result(directory, RESULT, FORMAT)
