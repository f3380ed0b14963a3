"""Tests of a study: variants against a reference, one family over all metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ld4mrec_cli.evaluation.mean_difference import POWER, Sample
from ld4mrec_cli.evaluation.significance import ALPHA, PairedTest, compare_all
from ld4mrec_cli.experiments.compare.report import ONE_SEED, ONE_SEED_NOTE, p_value
from ld4mrec_cli.utils.tables import Table


def show(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.4f}".replace("-", "−")


@dataclass(frozen=True)
class Entry:
    """What is compared: a name and its samples by metric."""

    title: str
    samples: Mapping[str, Sample]


@dataclass(frozen=True)
class Contrast:
    """An entry minus its reference in one metric."""

    title: str
    reference: str
    metric: str
    test: PairedTest

    @property
    def is_better(self) -> bool:
        """Whether the entry is shown to be better than the reference."""
        return self.test.is_significant and self.test.difference > 0

    @property
    def is_worse(self) -> bool:
        """Whether the entry is shown to be worse than the reference."""
        return self.test.is_significant and self.test.difference < 0

    @property
    def verdict(self) -> str:
        """In words; with one seed, for these runs."""
        mark = "" if self.test.over_seeds else ONE_SEED
        word = "better" if self.is_better else "worse" if self.is_worse else ""
        return f"{word}{mark}" if word else "not shown"

    @property
    def interval(self) -> str:
        """The difference and its interval."""
        return f"{show(self.test.difference)} [{show(self.test.low)}, {show(self.test.high)}]"

    def as_json(self) -> dict[str, Any]:
        """For the report's JSON."""
        values = asdict(self.test)
        del values["a"], values["b"]
        names = {"a": self.title, "b": self.reference, "metric": self.metric}
        return {**names, **values, "significant": self.test.is_significant}


def contrast(
    entries: Sequence[Entry], metrics: Sequence[str], pairs: Sequence[tuple[int, int]] | None = None
) -> list[Contrast]:
    """Test entries against the first, or the given ``pairs``; metrics and pairs are one family."""
    chosen = [(place, 0) for place in range(1, len(entries))] if pairs is None else list(pairs)
    if not chosen:
        return []
    values = {metric: [entry.samples[metric] for entry in entries] for metric in metrics}
    found = compare_all(values, pairs=chosen)
    return [
        Contrast(entries[test.a].title, entries[test.b].title, metric, test)
        for metric, tests in found.items()
        for test in tests
    ]


COLUMNS = ("difference [95 %]", "verdict", "p (Holm)", "detectable")


def cells(found: Contrast) -> list[str]:
    """Cells of a contrast under :data:`COLUMNS`."""
    detectable = found.test.detectable
    shown = "–" if detectable is None else f"{detectable:.4f}"
    return [found.interval, found.verdict, p_value(found.test.p_holm), shown]


def contrast_table(found: Sequence[Contrast], name: str) -> Table:
    """A row per contrast."""
    rows = [[f"{one.title} − {one.reference}", one.metric, *cells(one)] for one in found]
    return Table([name, "metric", *COLUMNS], rows)


def describe_tests(found: Sequence[Contrast]) -> list[str]:
    """How to read the tests, and what ``*`` means where it is used."""
    if not found:
        return []
    n_tests = len(found)
    lines = [
        "Differences are paired over users; their mean is tested by t with the variance over users "
        "and over seeds, each with its own degrees of freedom (docs/compare.md). Holm's "
        f"correction covers all {n_tests} tests of pairs and metrics. Intervals: bootstrap over "
        f"users and seeds. A difference is shown where the corrected p is below {ALPHA} and the "
        f"interval leaves out zero. Detectable: the true difference that these users and seeds "
        f"would show with probability {POWER}; smaller ones may be there."
    ]
    if not all(one.test.over_seeds for one in found):
        lines.append(f"{ONE_SEED} {ONE_SEED_NOTE}.")
    return lines
