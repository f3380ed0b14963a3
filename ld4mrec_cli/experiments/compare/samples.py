"""What the runs of a comparison give its tests: values by user, seed and fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.evaluation.fold_difference import FoldSample
from ld4mrec_cli.evaluation.mean_difference import Sample
from ld4mrec_cli.evaluation.results import Evaluation
from ld4mrec_cli.experiments.compare.results import RunResult


@dataclass(frozen=True)
class UserValues:
    """Values of the users of one run."""

    fold: int | None
    users: np.ndarray
    """Indices in the dataset of the fold, of those who have a target ``(n_users,)``."""
    values: Mapping[str, np.ndarray]
    """Metric → value of each ``(n_users,)``."""

    @classmethod
    def of(cls, found: Evaluation, fold: int | None, metrics: Sequence[str]) -> UserValues:
        """Some metrics of an evaluation."""
        return cls(fold, found.users, {name: found.per_user[name] for name in metrics})


@dataclass
class SystemRuns:
    """Results of the runs of one system."""

    runs: list[RunResult] = field(default_factory=list)
    per_user: list[UserValues] = field(default_factory=list)


def seed_sample(found: SystemRuns, metric: str, uses_seed: bool) -> Sample:
    """Values of a system on one dataset, over its seeds."""
    return Sample(np.stack([run.values[metric] for run in found.per_user]), uses_seed)


class FoldUsers:
    """The users of all folds, matched by their raw ids."""

    def __init__(self, datasets: Sequence[Dataset], split: str) -> None:
        """Find the users who have a target in a fold."""
        self._places: dict[str, int] = {}
        self._datasets = datasets
        overlaps = []
        for dataset in datasets:
            tested = dataset.matrix(split)
            overlaps.append(tested.nnz / dataset.schema.splits["train"].interactions)
            for user in np.flatnonzero(np.diff(tested.indptr)).tolist():
                self._places.setdefault(dataset.users[user], len(self._places))
        self._overlap = float(np.mean(overlaps))

    def __len__(self) -> int:
        return len(self._places)

    def sample(self, found: SystemRuns, metric: str) -> FoldSample:
        """Values of a system that worked in every fold; of several seeds the mean."""
        totals = np.zeros((len(self._datasets), len(self)))
        counts = np.zeros_like(totals)
        for run in found.per_user:
            fold = (run.fold or 1) - 1
            users = self._datasets[fold].users
            places = [self._places[users[user]] for user in run.users.tolist()]
            totals[fold, places] += run.values[metric]
            counts[fold, places] += 1.0
        values = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0.0)
        return FoldSample(values, self._overlap)
