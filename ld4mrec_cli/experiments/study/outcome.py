"""What the trainings of a study gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ld4mrec_cli.evaluation.mean_difference import Sample
from ld4mrec_cli.experiments.compare.results import Spread
from ld4mrec_cli.experiments.study.measure import Measured
from ld4mrec_cli.experiments.study.plan import StudyPlan, Variant


@dataclass
class Outcome:
    """Measurements by variant and reading, and the reasons why others are missing."""

    plan: StudyPlan
    measured: dict[tuple[str, str], list[Measured]] = field(default_factory=dict)
    """By label of the variant and name of the reading, in the order of the seeds."""
    failures: list[str] = field(default_factory=list)
    """A line each."""

    def add(self, variant: Variant, reading: str, measured: Measured) -> None:
        """Add an evaluation."""
        self.measured.setdefault((variant.label, reading), []).append(measured)

    @property
    def variants(self) -> list[Variant]:
        """Variants of which at least one training worked."""
        return [one for one in self.plan.variants if (one.label, one.readings[0].name) in self]

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self.measured

    def of(self, variant: Variant, reading: str = "") -> Sequence[Measured]:
        """Its evaluations, one for each seed that worked."""
        return self.measured[variant.label, reading]

    def sample(self, variant: Variant, metric: str, reading: str = "") -> Sample:
        """Values by seed and user, for a test."""
        values = [one.per_user[metric] for one in self.of(variant, reading)]
        return Sample(np.stack(values), variant.varies(reading))

    def by_seed(self, variant: Variant, metric: str, reading: str = "") -> dict[int, np.ndarray]:
        """Values of the users ``(n_users,)`` by seed."""
        return {one.seed: one.per_user[metric] for one in self.of(variant, reading)}

    def spread(self, variant: Variant, metric: str, reading: str = "") -> Spread:
        """Mean and deviation of a metric over seeds."""
        return Spread.of([one.metrics[metric] for one in self.of(variant, reading)])

    @property
    def n_users(self) -> int | None:
        """Users that count; None where no evaluation has the metric."""
        values = (found[0].per_user.get(self.plan.metric) for found in self.measured.values())
        return next((len(one) for one in values if one is not None), None)
