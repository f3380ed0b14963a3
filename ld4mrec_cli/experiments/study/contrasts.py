"""Tests of a study: variants against a reference, one family over all metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ld4mrec_cli.evaluation.mean_difference import POWER, Sample, no_difference
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


@dataclass(frozen=True)
class Pairing:
    """A test that is to be made: ``a`` minus ``b`` in a metric."""

    title: str
    reference: str
    metric: str
    a: Sample
    b: Sample

    @classmethod
    def of_differences(
        cls, title: str, reference: str, metric: str, sample: Sample | None
    ) -> Iterator[Pairing]:
        """A sample of differences by seed against none; nothing where there is no sample."""
        if sample is not None:
            yield cls(title, reference, metric, sample, no_difference(sample))


def compare_pairings(pairings: Sequence[Pairing]) -> list[Contrast]:
    """Test them as one family. Those of one metric are over the same users, with the same draws."""
    samples: dict[str, list[Sample]] = {}
    places: dict[str, list[tuple[int, int]]] = {}
    for one in pairings:
        own = samples.setdefault(one.metric, [])
        own += [new for new in (one.a, one.b) if not any(new is other for other in own)]
        place = {id(sample): number for number, sample in enumerate(own)}
        places.setdefault(one.metric, []).append((place[id(one.a)], place[id(one.b)]))
    found = {name: iter(tests) for name, tests in compare_all(samples, pairs=places).items()}
    return [
        Contrast(one.title, one.reference, one.metric, next(found[one.metric])) for one in pairings
    ]


def contrast(
    entries: Sequence[Entry], metrics: Sequence[str], pairs: Sequence[tuple[int, int]] | None = None
) -> list[Contrast]:
    """Test entries against the first, or the given ``pairs``; metrics and pairs are one family."""
    chosen = [(place, 0) for place in range(1, len(entries))] if pairs is None else pairs
    return compare_pairings(
        [
            Pairing(
                entries[a].title,
                entries[b].title,
                metric,
                entries[a].samples[metric],
                entries[b].samples[metric],
            )
            for metric in metrics
            for a, b in chosen
        ]
    )


COLUMNS = ("difference [95 %]", "verdict", "p (Holm)", "detectable")


def cells(found: Contrast) -> list[str]:
    """Cells of a contrast under :data:`COLUMNS`."""
    detectable = found.test.detectable
    shown = "–" if detectable is None else f"{detectable:.4f}" if detectable < 1.0 else ">1"
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
