"""`study inference`: one step against K steps of the same weights, trained with noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ld4mrec_cli.config import Config
from ld4mrec_cli.evaluation.mean_difference import pair_seeds
from ld4mrec_cli.experiments.compare.systems import System
from ld4mrec_cli.experiments.study.contrasts import (
    COLUMNS,
    Contrast,
    Pairing,
    cells,
    compare_pairings,
    describe_tests,
)
from ld4mrec_cli.experiments.study.figures import Curve, draw_curves
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.plan import AS_TRAINED, Reading, Variant, with_settings
from ld4mrec_cli.experiments.study.report import Picture, Report, ReportTable, name_metric
from ld4mrec_cli.experiments.study.request import Request
from ld4mrec_cli.utils.errors import UserError
from ld4mrec_cli.utils.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ONE_STEP = "one step"
MAX_POINTS = 8
"""Most values of K and of the starting step."""
NOISE = {"diffusion.noise_scale": 0.1, "diffusion.noise_max": 1.0}
"""The published schedule, for a configuration that trains without noise."""


def plan_inference(request: Request) -> list[Variant]:
    """Each LD4MRec system with its readings. Raises UserError where there is none."""
    variants = []
    for system in request.systems:
        if system.config.model_name != "ld4mrec":
            raise UserError(
                f"{system.label}: '{system.config.model_name}' has no steps to choose",
                hint="Study ld4mrec with inference",
            )
        config = _with_noise(system.config)
        variants.append(
            Variant(
                System(system.label, config, system.source),
                system.label,
                {"steps": config.diffusion.steps},
                readings=tuple(_readings(config)),
            )
        )
    return variants


def _with_noise(config: Config) -> Config:
    """Trained with noise, and by default inferred in one step."""
    noise = {} if config.diffusion.noise_scale else NOISE
    one_step = {"diffusion.inference_steps": 1, "diffusion.inference_start": None}
    return with_settings(config, {**noise, **one_step})


def _readings(config: Config) -> list[Reading]:
    steps = config.diffusion.steps
    chains = [(f"k{k}", {"diffusion.inference_steps": k}) for k in _spaced(2, steps)]
    starts = [(f"start{t}", {"diffusion.inference_start": t}) for t in _spaced(1, steps)]
    return [
        Reading(AS_TRAINED.name, is_timed=True),
        *(Reading(name, overrides, is_timed=True) for name, overrides in chains),
        *(Reading(name, overrides) for name, overrides in starts),
    ]


def _spaced(first: int, last: int) -> list[int]:
    """At most MAX_POINTS whole numbers, in even ratios."""
    if last < first:
        return []
    return sorted({round(x) for x in np.geomspace(first, last, MAX_POINTS)})


def report_inference(outcome: Outcome) -> Report:
    """Every number of steps, and every starting step, against one step from the row itself."""
    readings = [
        (variant, reading)
        for variant in outcome.variants
        for reading in variant.readings
        if (variant.label, reading.name) in outcome
    ]
    metric = outcome.plan.metric
    found = compare_pairings(
        [
            pairing
            for name in outcome.plan.tested
            for variant, reading in readings
            if reading.name
            for pairing in _pair(outcome, variant, reading, name)
        ]
    )
    shown = [one for one in found if one.metric == metric]
    return Report(
        title="One step against many",
        question="Does a chain of reverse steps rank better than one step of the same weights?",
        answer=_answer(outcome, shown),
        findings=_findings(outcome, shown),
        pictures=[_picture(outcome, variant, shown) for variant in outcome.variants],
        tables=[_table(outcome, readings, shown)],
        method=[
            "The model is trained with Gaussian noise; the number of steps K and the starting step "
            "are changed at evaluation, so all rows of a system are of the same weights. K steps "
            "start from the row with the noise of step K; one step, from the row itself.",
            "Time is that of computing all scores, per user, without loading and ranking; the "
            "fastest of three passes.",
            "K steps and one step of the same seed are of the same weights, so their difference is "
            "taken seed by seed; how much seeds differ counts only where it is in that difference.",
            *describe_tests(found),
        ],
        data={"tests": [one.as_json() for one in found]},
    )


def _pair(outcome: Outcome, variant: Variant, reading: Reading, metric: str) -> Iterator[Pairing]:
    """A reading against one step of the same weights: those of one seed are a pair."""
    sample = pair_seeds(
        outcome.by_seed(variant, metric, reading.name),
        outcome.by_seed(variant, metric),
        a_uses_seed=variant.varies(reading.name),
        b_uses_seed=variant.varies(""),
    )
    title, reference = f"{variant.title}, {_title(reading)}", f"{variant.title}, {ONE_STEP}"
    return Pairing.of_differences(title, reference, metric, sample)


def _title(reading: Reading) -> str:
    if reading.name.startswith("k"):
        return f"K = {reading.name[1:]}"
    return f"one step from t = {reading.name[5:]}" if reading.name else ONE_STEP


def _chains(found: Sequence[Contrast], variant: Variant) -> dict[int, Contrast]:
    """Contrast of every K by K."""
    prefix = f"{variant.title}, K = "
    return {
        int(one.title.removeprefix(prefix)): one for one in found if one.title.startswith(prefix)
    }


def crossing_point(found: dict[int, Contrast]) -> int | None:
    """The fewest steps that are shown to be better than one; None where no number is."""
    return min((k for k, one in found.items() if one.is_better), default=None)


def _answer(outcome: Outcome, found: Sequence[Contrast]) -> str:
    if not outcome.variants:
        return "no training worked, so there is nothing to compare"
    variant = outcome.variants[0]
    chains, name = _chains(found, variant), name_metric(outcome.plan.metric)
    if not chains:
        return "there is a single step, so there is nothing to compare"
    crossing = crossing_point(chains)
    worse = [k for k, one in chains.items() if one.is_worse]
    slower = _slowdown(outcome, variant, max(chains))
    cost = f"; K = {max(chains)} takes {slower:.1f} times as long" if slower else ""
    runs = "" if all(one.test.over_seeds for one in chains.values()) else " (in these runs)"
    if crossing is not None:
        return f"more steps help: {name} is better from K = {crossing} on{cost}{runs}"
    if worse:
        return f"one step is enough: {name} is worse from K = {min(worse)} on{cost}{runs}"
    return f"no number of steps is shown to differ from one step in {name}{cost}{runs}"


def _slowdown(outcome: Outcome, variant: Variant, k: int) -> float | None:
    one, many = _time(outcome, variant, ""), _time(outcome, variant, f"k{k}")
    return many / one if one and many else None


def _time(outcome: Outcome, variant: Variant, reading: str) -> float | None:
    """Mean milliseconds per user over seeds."""
    found = outcome.measured.get((variant.label, reading), [])
    times = [one.scoring_ms for one in found if one.scoring_ms is not None]
    return sum(times) / len(times) if times else None


def _findings(outcome: Outcome, found: Sequence[Contrast]) -> list[str]:
    lines = []
    for variant in outcome.variants:
        chains = _chains(found, variant)
        crossing = crossing_point(chains)
        if chains and crossing is None:
            lines.append(f"for {variant.title} there is no crossing point up to K = {max(chains)}")
        elif crossing is not None:
            lines.append(f"for {variant.title} the crossing point is K = {crossing}")
        starts = [one for one in found if one.title.startswith(f"{variant.title}, one step from")]
        differ = [one for one in starts if one.test.is_significant]
        if starts and not differ:
            lines.append(f"for {variant.title} the starting step is not shown to matter")
        lines += [f"{one.title}: {one.interval}, {one.verdict}" for one in differ]
    return lines


def _picture(outcome: Outcome, variant: Variant, found: Sequence[Contrast]) -> Picture:
    metric, split = outcome.plan.metric, outcome.plan.split
    chains, base = _chains(found, variant), outcome.spread(variant, metric).mean
    k = [1, *chains]
    tests = [one.test for one in chains.values()]
    accuracy = Curve(
        ONE_STEP,
        k,
        [base, *(base + one.difference for one in tests)],
        [base, *(base + one.low for one in tests)],
        [base, *(base + one.high for one in tests)],
    )
    times = [_time(outcome, variant, "" if one == 1 else f"k{one}") or 0.0 for one in k]
    seconds = Curve(ONE_STEP, k, times, times, times)
    name = name_metric(metric)

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        draw_curves(above, [accuracy], "", f"{name} ({split})")
        above.axhline(base, color="#3d4752", linewidth=0.8, linestyle="--")
        draw_curves(below, [seconds], "reverse steps K", "ms per user")
        below.set_xticks(k)
        below.set_ylim(bottom=0.0)

    listed = "; ".join(f"K = {n}: {one.interval} ({one.verdict})" for n, one in chains.items())
    return Picture(
        draw=draw,
        height=4.4,
        alt=f"{name} and time per user over the number of steps K. One step: {base:.4f}. {listed}",
        caption=f"{variant.title}: accuracy and time over the number of steps. Bars: 95 % interval "
        "of the difference to one step (dashed).",
    )


def _table(
    outcome: Outcome, readings: Sequence[tuple[Variant, Reading]], found: Sequence[Contrast]
) -> ReportTable:
    metric = outcome.plan.metric
    by_title = {one.title: one for one in found}
    rows = []
    for variant, reading in readings:
        title = f"{variant.title}, {_title(reading)}"
        one, time = by_title.get(title), _time(outcome, variant, reading.name)
        rows.append(
            [
                title,
                f"{outcome.spread(variant, metric, reading.name).mean:.4f}",
                *(cells(one) if one else ["–"] * len(COLUMNS)),
                f"{time:.3f}" if time is not None else "–",
            ]
        )
    table = Table(["inference", name_metric(metric), *COLUMNS, "ms per user"], rows)
    return ReportTable("Steps", table, "Differences are to one step from the row itself.")
