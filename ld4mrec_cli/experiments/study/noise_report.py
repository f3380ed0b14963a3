"""Report of `study noise`: relative losses, areas, and the first system against the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ld4mrec_cli.evaluation.mean_difference import pair_seeds
from ld4mrec_cli.evaluation.significance import ALPHA
from ld4mrec_cli.experiments.compare.report import ONE_SEED
from ld4mrec_cli.experiments.study.contrasts import (
    Contrast,
    Pairing,
    compare_pairings,
    contrast_table,
    describe_tests,
)
from ld4mrec_cli.experiments.study.figures import Curve, draw_curves
from ld4mrec_cli.experiments.study.losses import Loss, area, interval, relative_loss
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.report import (
    Picture,
    Report,
    ReportTable,
    join_names,
    name_metric,
)
from ld4mrec_cli.utils.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Losses:
    """Relative losses of one system under one noise type, by level."""

    system: str
    noise_type: str
    by_level: dict[float, Loss]

    @property
    def area(self) -> Loss | None:
        """Mean over the levels."""
        return area(self.by_level)


def report_noise(outcome: Outcome) -> Report:
    """Relative losses by level, areas under them, and the first system against the others."""
    metric = outcome.plan.metric
    losses = {name: list(_losses(outcome, name)) for name in outcome.plan.tested}
    found = _contrasts(losses)
    shown = [one for one in found if one.metric.startswith(f"{metric}, ")]
    return Report(
        title="Noise in training",
        question="How much accuracy does noise in the training interactions cost, and whom least?",
        answer=_answer(shown, losses[metric], metric),
        findings=[
            f"{_kind(one)}: {one.title} against {one.reference} {one.interval}, {_verdict(one)}"
            for one in shown
        ],
        pictures=[_picture(kind, losses[metric], metric) for kind in _kinds(losses[metric])],
        tables=_tables(losses[metric], shown, metric),
        method=[
            "Noise is injected into the training split alone, drawn anew for every seed; "
            "validation and test stay, and what is added is in neither. A level is a share of the "
            "training interactions. The relative loss of a run is 1 minus its metric over that of "
            "the clean run of the same model and seed; the area is its mean over the levels, from "
            "0 to the highest (trapezoids). The first system is tested against each other in the "
            "area; a loss of a user is the linear part of that ratio (delta method). Runs of one "
            "seed have the same noise, so areas are compared seed by seed.",
            *describe_tests(found),
        ],
        data={
            "tests": [one.as_json() for one in found],
            "losses": [
                {"system": one.system, "type": one.noise_type, "level": level, **loss.as_json()}
                for one in losses[metric]
                for level, loss in one.by_level.items()
            ],
        },
    )


def _losses(outcome: Outcome, metric: str) -> Iterator[Losses]:
    """Losses of all systems whose clean run worked."""
    variants = outcome.variants
    clean = {one.facts["system"]: one for one in variants if one.facts["type"] is None}
    for system, reference in clean.items():
        own = [one for one in variants if one.facts["system"] == system and one.facts["type"]]
        for kind in dict.fromkeys(one.facts["type"] for one in own):
            by_level = {
                one.facts["level"]: relative_loss(
                    outcome.by_seed(reference, metric),
                    outcome.by_seed(one, metric),
                    clean_uses_seed=reference.uses_seed,
                )
                for one in own
                if one.facts["type"] == kind
            }
            found = {level: loss for level, loss in by_level.items() if loss is not None}
            if found:
                yield Losses(system, kind, found)


def _kinds(losses: Sequence[Losses]) -> list[str]:
    return list(dict.fromkeys(one.noise_type for one in losses))


def _contrasts(losses: dict[str, list[Losses]]) -> list[Contrast]:
    """The area of the first system minus that of every other, for each metric and noise type."""
    return compare_pairings(
        [pairing for metric, found in losses.items() for pairing in _pair_all(metric, found)]
    )


def _pair_all(metric: str, losses: Sequence[Losses]) -> Iterator[Pairing]:
    for kind in _kinds(losses):
        first, *others = (one for one in losses if one.noise_type == kind)
        if first.system == losses[0].system:
            for other in others:
                yield from _pair(first, other, f"{metric}, {kind}")


def _pair(first: Losses, other: Losses, name: str) -> Iterator[Pairing]:
    """The areas of two systems, seed by seed, over the levels that both have."""
    levels = first.by_level.keys() & other.by_level.keys()
    if not levels:
        return
    own, others = (area({level: one.by_level[level] for level in levels}) for one in (first, other))
    if own and others:
        sample = pair_seeds(own.by_seed, others.by_seed)
        yield from Pairing.of_differences(first.system, other.system, name, sample)


def _kind(one: Contrast) -> str:
    return one.metric.partition(", ")[2]


def _verdict(one: Contrast) -> str:
    """A smaller loss is better."""
    mark = "" if one.test.over_seeds else ONE_SEED
    if not one.test.is_significant:
        return "not shown"
    return f"loses {'less' if one.is_worse else 'more'}{mark}"


def _answer(found: Sequence[Contrast], losses: Sequence[Losses], metric: str) -> str:
    if not losses:
        return "no clean run worked, so no loss can be measured"
    first = losses[0].system
    own = [one for one in losses if one.system == first]
    costs = [f"{one.noise_type} {_area(one)}" for one in own]
    said = [f"noise costs {first} on average {', '.join(costs)} of its {name_metric(metric)}"]
    less = [f"{one.reference} ({_kind(one)})" for one in found if one.is_worse]
    more = [f"{one.reference} ({_kind(one)})" for one in found if one.is_better]
    if less:
        said.append(f"less than {join_names(less)}")
    if more:
        said.append(f"more than {join_names(more)}")
    silent = len(found) - len(less) - len(more)
    if silent:
        said.append(f"for {silent} of {len(found)} comparisons no difference is shown")
    runs = "" if all(one.test.over_seeds for one in found) else " (in these runs)"
    return "; ".join(said) + runs


def _area(one: Losses) -> str:
    found = one.area
    return "–" if found is None else f"{found.mean:.1%}".replace("-", "−")


def _picture(kind: str, losses: Sequence[Losses], metric: str) -> Picture:
    own = [one for one in losses if one.noise_type == kind]
    curves = []
    for one in own:
        levels = sorted(one.by_level)
        middle = [100 * one.by_level[level].mean for level in levels]
        bounds = [interval(one.by_level[level].sample, ALPHA) for level in levels]
        curves.append(
            Curve(
                one.system,
                [0.0, *(100 * level for level in levels)],
                [0.0, *middle],
                [0.0, *(100 * low for low, _ in bounds)],
                [0.0, *(100 * high for _, high in bounds)],
            )
        )
    name = name_metric(metric)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_curves(axes, curves, f"{kind} noise, % of the training interactions", "loss, %")
        axes.axhline(0.0, color="#3d4752", linewidth=0.8)

    listed = "; ".join(
        f"{curve.title}: "
        + ", ".join(f"{y:.1f} % at {x:.0f} %" for x, y in zip(curve.x, curve.y, strict=True))
        for curve in curves
    )
    return Picture(
        draw=draw,
        height=3.3,
        alt=f"Relative loss of {name} over the level of {kind} noise. {listed}",
        caption=f"{kind}: relative loss of {name} against the clean run of the same model and "
        "seed, with 95 % intervals over users and seeds.",
    )


def _tables(losses: Sequence[Losses], found: Sequence[Contrast], metric: str) -> list[ReportTable]:
    rows = []
    for one in losses:
        levels = [f"{level:.0%}: {loss.mean:.1%}" for level, loss in sorted(one.by_level.items())]
        shown = ", ".join(levels).replace("-", "−")
        rows.append([one.system, one.noise_type, _area(one), shown])
    table = Table(["system", "noise", "area", "loss by level"], rows)
    note = f"Share of the clean {name_metric(metric)} that is lost; negative: gained."
    tables = [ReportTable("Losses", table, note)]
    if found:
        tested = contrast_table(found, "areas")
        words = [list(row) for row in tested.rows]
        for row, verdict in zip(words, map(_verdict, found), strict=True):
            row[3] = verdict
        note = "Differences of areas, in shares: below 0 the first loses less."
        tables.append(ReportTable("Claims", Table(tested.columns, words), note))
    return tables
