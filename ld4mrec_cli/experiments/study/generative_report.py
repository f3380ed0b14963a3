"""Report of `study generative`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ld4mrec_cli.evaluation.mean_difference import pair_seeds
from ld4mrec_cli.evaluation.significance import ALPHA
from ld4mrec_cli.experiments.compare.results import Spread
from ld4mrec_cli.experiments.study.contrasts import (
    COLUMNS,
    Contrast,
    Pairing,
    cells,
    compare_pairings,
    describe_tests,
    show,
)
from ld4mrec_cli.experiments.study.figures import Point, add_legend, draw_points
from ld4mrec_cli.experiments.study.generative import ONE_STEP, inference_steps
from ld4mrec_cli.experiments.study.losses import deviation_interval, interval
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.plan import Variant
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


COSTS = ("time of training", "time of inference", "memory")


@dataclass(frozen=True)
class Row:
    """A system as it was trained, or with other steps at inference."""

    title: str
    variant: Variant
    reading: str


def report_generative(outcome: Outcome) -> Report:
    """The first system against every other, and DiffRec's steps against one."""
    rows, metric = _rows(outcome), outcome.plan.metric
    found = compare_pairings(
        [
            pairing
            for name in outcome.plan.tested
            for a, b in _pairs(rows)
            for pairing in _pair(outcome, a, b, name)
        ]
    )
    shown = [one for one in found if one.metric == metric]
    return Report(
        title="Generative models",
        question="What do generative models of interactions give, and what do they cost?",
        answer=_answer(outcome, rows, shown),
        findings=_findings(outcome, rows, shown),
        pictures=[_picture(outcome, rows)] if rows else [],
        tables=[
            _accuracy_table(outcome, rows, shown),
            _cost_table(outcome, rows),
        ],
        method=[
            "Training time and the peak of memory are those of each training in a process of its "
            "own; means over seeds, of memory the highest. Inference is the time of all scores of "
            "a user, in batches, without loading and ranking: the fastest of three passes. "
            "Stability is the standard deviation over seeds; its interval is that of normal values "
            "(chi-square), which is wide for few seeds.",
            "DiffRec's steps and its one step are readings of the same weights, which are compared "
            "seed by seed.",
            *describe_tests(found),
        ],
        data={"tests": [one.as_json() for one in found]},
    )


def _rows(outcome: Outcome) -> list[Row]:
    rows = []
    for variant in outcome.variants:
        steps = inference_steps(variant.system)
        rows.append(Row(variant.title + (f" ({steps} steps)" if steps > 1 else ""), variant, ""))
        if (variant.label, ONE_STEP) in outcome:
            rows.append(Row(f"{variant.title} (one step)", variant, ONE_STEP))
    return rows


def _pairs(rows: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """The first system, then one step of a system against all of its steps."""
    for row in rows[1:]:
        if row.variant is not rows[0].variant:
            yield rows[0], row
    for all_steps, one_step in itertools.pairwise(rows):
        if one_step.reading:
            yield one_step, all_steps


def _pair(outcome: Outcome, a: Row, b: Row, metric: str) -> Iterator[Pairing]:
    """Readings of the same weights are paired by seed; other systems share nothing but users."""
    if a.variant is not b.variant:
        own, other = (outcome.sample(one.variant, metric, one.reading) for one in (a, b))
        yield Pairing(a.title, b.title, metric, own, other)
        return
    sample = pair_seeds(
        outcome.by_seed(a.variant, metric, a.reading),
        outcome.by_seed(b.variant, metric, b.reading),
        a_uses_seed=a.variant.varies(a.reading),
        b_uses_seed=b.variant.varies(b.reading),
    )
    yield from Pairing.of_differences(a.title, b.title, metric, sample)


def _answer(outcome: Outcome, rows: Sequence[Row], found: Sequence[Contrast]) -> str:
    own = [one for one in found if rows and one.title == rows[0].title]
    if not own:
        return "no two systems worked, so there is nothing to compare"
    first, name = rows[0].title, name_metric(outcome.plan.metric)
    said = []
    for word, part in (
        ("ahead of", [one for one in own if one.is_better]),
        ("behind", [one for one in own if one.is_worse]),
    ):
        if part:
            shown = [f"{one.reference} ({show(one.test.difference)})" for one in part]
            said.append(f"{word} {join_names(shown)}")
    silent = [one.reference for one in own if not one.test.is_significant]
    if silent:
        said.append(f"not shown to differ from {join_names(silent)}")
    runs = "" if all(one.test.over_seeds for one in own) else " (in these runs)"
    return f"in {name}, {first} is {'; '.join(said)}{runs}"


def _findings(outcome: Outcome, rows: Sequence[Row], found: Sequence[Contrast]) -> list[str]:
    lines = [
        f"the same weights, {one.title} against {one.reference}: {one.interval}, {one.verdict}"
        for one in found
        if one.title != rows[0].title
    ]
    if not rows:
        return lines
    first = _costs(outcome, rows[0])
    for row in rows[1:]:
        if row.variant is rows[0].variant:
            continue
        own = _costs(outcome, row)
        ratios = [
            f"{a / b:.1f} times the {what}"
            for what, a, b in zip(COSTS, own, first, strict=True)
            if a and b and not (row.reading and what != COSTS[1])
        ]
        if ratios:
            lines.append(f"against {rows[0].title}, {row.title} takes {join_names(ratios)}")
    return lines


def _costs(outcome: Outcome, row: Row) -> tuple[float | None, float | None, float | None]:
    """Seconds of training, milliseconds of inference for a user, megabytes at the most."""
    runs = outcome.of(row.variant, row.reading)
    seconds = [one.training_seconds for one in runs if one.training_seconds is not None]
    times = [one.scoring_ms for one in runs if one.scoring_ms is not None]
    memory = [one.peak_memory_mb for one in runs if one.peak_memory_mb is not None]
    return (
        Spread.of(seconds).mean if seconds else None,
        Spread.of(times).mean if times else None,
        max(memory, default=None),
    )


def _picture(outcome: Outcome, rows: Sequence[Row]) -> Picture:
    metric, split = outcome.plan.metric, outcome.plan.split
    name, costs = name_metric(metric), [_costs(outcome, row) for row in rows]
    values = [
        (
            outcome.spread(row.variant, metric, row.reading).mean,
            *interval(outcome.sample(row.variant, metric, row.reading), ALPHA),
        )
        for row in rows
    ]

    def points(place: int) -> list[Point]:
        return [
            Point(row.title, cost[place] or 0.0, *value)
            for row, cost, value in zip(rows, costs, values, strict=True)
        ]

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1)
        draw_points(above, points(0), "training, s", f"{name} ({split})")
        draw_points(below, points(1), "inference, ms per user", f"{name} ({split})")
        add_legend(figure, above)

    listed = "; ".join(
        f"{row.title}: {value[0]:.4f}, {_figure(cost[0])} s, {_figure(cost[1], 3)} ms"
        for row, cost, value in zip(rows, costs, values, strict=True)
    )
    return Picture(
        draw=draw,
        height=5.4,
        alt=f"{name} over the seconds of training and over the time of inference. {listed}",
        caption=f"{name} over the time of training and of inference, which grow to the right by "
        "factors. Bars: 95 % interval over users and seeds.",
    )


def _figure(value: float | None, decimals: int = 1) -> str:
    return "–" if value is None else f"{value:,.{decimals}f}"


def _accuracy_table(
    outcome: Outcome, rows: Sequence[Row], found: Sequence[Contrast]
) -> ReportTable:
    metric = outcome.plan.metric
    first = rows[0].title if rows else ""
    by_other = {one.reference: one for one in found if one.title == first}
    cut = []
    for row in rows:
        spread = outcome.spread(row.variant, metric, row.reading)
        one = by_other.get(row.title)
        cut.append(
            [
                row.title,
                f"{spread.mean:.4f}",
                _deviation(spread, len(outcome.of(row.variant, row.reading))),
                *(cells(one) if one else ["–"] * len(COLUMNS)),
            ]
        )
    table = Table(["system", name_metric(metric), "deviation [95 %]", *COLUMNS], cut)
    note = f"Differences are of {first} minus the row. Deviation: over seeds."
    return ReportTable("Accuracy", table, note)


def _deviation(spread: Spread, n_seeds: int) -> str:
    if spread.std is None:
        return "–"
    low, high = deviation_interval(spread.std, n_seeds, ALPHA)
    return f"{spread.std:.4f} [{low:.4f}, {high:.4f}]"


def _cost_table(outcome: Outcome, rows: Sequence[Row]) -> ReportTable:
    shown = []
    for row in rows:
        seconds, milliseconds, memory = _costs(outcome, row)
        epochs = [one.best_epoch for one in outcome.of(row.variant) if one.best_epoch is not None]
        shown.append(
            [
                row.title,
                _figure(seconds),
                ", ".join(map(str, epochs)) or "–",
                _figure(milliseconds, 3),
                _figure(memory, 0),
            ]
        )
    columns = ["system", "train s", "best epochs", "ms per user", "peak MB"]
    return ReportTable("Cost", Table(columns, shown), f"Device: {outcome.plan.device}.")
