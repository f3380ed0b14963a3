"""The figures of `study cold-start`: systems by history length, group of items, and new items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ld4mrec_cli.evaluation.mean_difference import Sample, pair_seeds
from ld4mrec_cli.evaluation.significance import ALPHA
from ld4mrec_cli.experiments.compare.results import Spread
from ld4mrec_cli.experiments.study.cold_probes import group_names, grouped
from ld4mrec_cli.experiments.study.cold_start import CONTENT, KNOWN, NEW, length_reading
from ld4mrec_cli.experiments.study.contrasts import Contrast, Pairing
from ld4mrec_cli.experiments.study.losses import interval
from ld4mrec_cli.experiments.study.new_item_probe import complete
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.plan import Variant

CONTENT_TITLE, CHANCE = "content kNN", "chance"


@dataclass(frozen=True)
class Values:
    """Recall of one system by seed, each over the same users ``(n_users,)``."""

    by_seed: Mapping[int, np.ndarray]
    uses_seed: bool

    @property
    def sample(self) -> Sample:
        """By seed and user."""
        return Sample(np.stack(list(self.by_seed.values())), self.uses_seed)

    @property
    def mean(self) -> float:
        """Over users and seeds."""
        return float(self.sample.values.mean())

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval of the mean, as far as a recall can be."""
        low, high = interval(self.sample, ALPHA)
        return max(low, 0.0), min(high, 1.0)

    def minus(self, other: Values) -> Sample | None:
        """Differences by seed; None where no seed has both."""
        return pair_seeds(
            self.by_seed,
            other.by_seed,
            a_uses_seed=self.uses_seed,
            b_uses_seed=other.uses_seed,
        )


Grid = dict[str, dict[str, Values]]
"""Values by column, such as a history length, and system, in their order."""
HISTORY, GROUP = "history of", "items of"
"""Starts of the names of columns in tables of tests."""


@dataclass(frozen=True)
class Part:
    """One of the three questions."""

    name: str
    """Start of its column names; empty for new items."""
    grid: Grid
    found: Sequence[Contrast]
    """The first system against the others."""

    def of_column(self, column: str) -> list[Contrast]:
        """Contrasts of one column."""
        return [one for one in self.found if one.metric == column_name(self.name, column)]


def by_length(outcome: Outcome) -> Grid:
    """Recall by the length that histories are cut to."""
    metric, grid = recall_of(outcome), Grid()
    for title, variant, prefix in _systems(outcome):
        for length in _lengths(variant):
            reading = length_reading(length, prefix)
            if (variant.label, reading) in outcome:
                values = outcome.by_seed(variant, metric, reading)
                grid.setdefault(str(length), {})[title] = Values(values, variant.varies(reading))
    return dict(sorted(grid.items(), key=lambda one: int(one[0])))


def by_group(outcome: Outcome) -> Grid:
    """Recall of the targets by the training interactions of the items."""
    grid: Grid = {}
    for group in group_names():
        for title, variant, prefix in _systems(outcome):
            if (variant.label, prefix) not in outcome:
                continue
            found = outcome.of(variant, prefix)
            values = {
                one.seed: one.per_user[grouped(group)]
                for one in found
                if grouped(group) in one.per_user
            }
            if values:
                grid.setdefault(group, {})[title] = Values(values, variant.varies(prefix))
    return grid


def of_new_items(outcome: Outcome) -> Grid:
    """Recall among the held-out items. Each seed holds out others, so it has other users."""
    found = {}
    for variant in outcome.variants:
        if variant.facts["part"] == NEW:
            reading = variant.readings[0].name
            title = CONTENT_TITLE if reading == CONTENT else variant.facts["system"]
            runs = outcome.of(variant, reading)
            found[title] = {
                one.seed: (one.per_user["users"].astype(np.int64), one.per_user["recall"])
                for one in runs
            }
    if not found:
        return {}
    shared = set.intersection(*(set(values) for values in found.values()))
    parts = {
        title: complete({seed: one for seed, one in values.items() if seed in shared})
        for title, values in found.items()
        if shared
    }
    if not parts:
        return {}
    grid = {title: Values(own, uses_seed=True) for title, own in parts.items()}
    users = next(iter(parts.values()))
    chance = {seed: np.full(len(own), _chance(outcome)) for seed, own in users.items()}
    return {NEW: {**grid, CHANCE: Values(chance, uses_seed=False)}}


def pair_first(part: str, grid: Grid, first: str) -> Iterator[Pairing]:
    """The first system against every other, in each column, seed by seed."""
    for column, values in grid.items():
        for title, other in values.items():
            if title != first and first in values:
                name = column_name(part, column)
                sample = values[first].minus(other)
                yield from Pairing.of_differences(first, title, name, sample)


def column_name(part: str, column: str) -> str:
    """A column in tables of tests."""
    return f"{part} {column}".strip()


def recall_of(outcome: Outcome) -> str:
    """The metric that this study reports."""
    return f"recall@{outcome.plan.metric.partition('@')[2]}"


def known_variants(outcome: Outcome) -> list[Variant]:
    """Variants that were trained on the dataset itself."""
    return [one for one in outcome.variants if one.facts["part"] == KNOWN]


def _systems(outcome: Outcome) -> list[tuple[str, Variant, str]]:
    """Title, variant, and start of the names of the readings; the content kNN comes last."""
    known = known_variants(outcome)
    content = [
        (CONTENT_TITLE, one, CONTENT)
        for one in known
        if any(reading.name == CONTENT for reading in one.readings)
    ]
    return [*((one.title, one, "") for one in known), *content]


def _lengths(variant: Variant) -> list[int]:
    lengths = {getattr(reading.probe, "length", None) for reading in variant.readings}
    return sorted(one for one in lengths if one is not None)


def _chance(outcome: Outcome) -> float:
    """Recall of a random order of the new items, the mean over the evaluations."""
    found = [
        one.metrics["chance"]
        for variant in outcome.variants
        if variant.facts["part"] == NEW
        for one in outcome.of(variant, variant.readings[0].name)
    ]
    return Spread.of(found).mean if found else 0.0
