"""`study modalities`: every subset of the modalities, and controls with other content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from ld4mrec_cli.experiments.compare.systems import System
from ld4mrec_cli.experiments.study.contrasts import (
    COLUMNS,
    Contrast,
    Entry,
    cells,
    contrast,
    describe_tests,
    show,
)
from ld4mrec_cli.experiments.study.derived import OtherContent
from ld4mrec_cli.experiments.study.figures import Bar, draw_forest, forest_height
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.plan import Variant, with_settings
from ld4mrec_cli.experiments.study.report import (
    Picture,
    Report,
    ReportTable,
    join_names,
    name_metric,
)
from ld4mrec_cli.experiments.study.request import Request
from ld4mrec_cli.models.ld4mrec.guidance import COLLABORATIVE
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.utils.errors import UserError
from ld4mrec_cli.utils.tables import Table

MISSING = (0.25, 0.5, 0.75, 1.0)
"""Shares of items without content, of the control."""


def plan_modalities(request: Request) -> list[Variant]:
    """Subsets and controls of every system that reads features. Raises UserError without any."""
    variants: list[Variant] = []
    for system in request.systems:
        if not MODELS[system.config.model_name].reads_features:
            raise UserError(f"{system.label} reads no features", hint="Name another model")
        names = request.signals(system.config)
        if not names:
            raise UserError("the dataset has no modality", where=request.dataset.directory)
        variants += _subsets(system, names)
        variants += _controls(system, names)
    return variants


def _subsets(system: System, names: Sequence[str]) -> Iterator[Variant]:
    """All modalities first, down to none where the model works without."""
    fewest = 1 if MODELS[system.config.model_name].needs_features else 0
    for size in range(len(names), fewest - 1, -1):
        for subset in combinations(names, size):
            changes = {"data.modalities": list(subset), **_guidance(system, subset)}
            config = with_settings(system.config, changes)
            title = " + ".join(subset) or "no content"
            label = f"{system.label}-{'-'.join(subset) or 'none'}"
            left_out = [name for name in names if name not in subset]
            facts = {"system": system.label, "modalities": list(subset), "left_out": left_out}
            yield Variant(System(label, config, None), f"{system.label}: {title}", facts)


def _guidance(system: System, subset: Sequence[str]) -> dict[str, list[str]]:
    """Guidance by signals that are there, where the configuration names them."""
    guidance = system.config.model.guidance
    if system.config.model_name != "ld4mrec" or guidance is None:
        return {}
    return {"model.guidance": [one for one in guidance if one in (COLLABORATIVE, *subset)]}


def _controls(system: System, names: Sequence[str]) -> Iterator[Variant]:
    kinds = [("shuffled", 1.0), *(("missing", share) for share in MISSING)]
    config = with_settings(system.config, {"data.modalities": list(names)})
    for kind, share in kinds:
        if share == 1.0 and kind == "missing" and MODELS[config.model_name].needs_features:
            continue
        name = "shuffled" if kind == "shuffled" else f"{share:.0%} without content"
        yield Variant(
            System(f"{system.label}-{kind}-{share:.0%}".replace("%", ""), config, None),
            f"{system.label}: {name}",
            {"system": system.label, "control": kind, "share": share},
            derivation=OtherContent(kind, share, tuple(names)),
        )


def report_modalities(outcome: Outcome) -> Report:
    """Every variant against all modalities of the same system."""
    variants, tested, metric = outcome.variants, outcome.plan.tested, outcome.plan.metric
    entries = [
        Entry(one.title, {name: outcome.sample(one, name) for name in tested}) for one in variants
    ]
    wholes = {
        one.facts["system"]: place
        for place, one in enumerate(variants)
        if one.facts.get("left_out") == []
    }
    pairs = [
        (place, wholes[one.facts["system"]])
        for place, one in enumerate(variants)
        if wholes.get(one.facts["system"], place) != place
    ]
    found = contrast(entries, tested, pairs)
    shown = {one.title: one for one in found if one.metric == metric}
    return Report(
        title="Modalities",
        question="Which content helps, and is it the content that does?",
        answer=_answer(variants, shown, metric),
        findings=_findings(variants, shown),
        pictures=[_picture(shown, metric, outcome.plan.split)] if shown else [],
        tables=[_table(outcome, shown)],
        method=[
            "Each system is trained anew with every subset of the modalities. Controls: the "
            "vectors of all items exchanged at random (same numbers, no information), and a random "
            "share of the items without content, which then have the mean of the others. The "
            "draw differs by seed.",
            *describe_tests(found),
        ],
        data={"tests": [one.as_json() for one in found]},
    )


def _single_losses(
    variants: Sequence[Variant], shown: dict[str, Contrast]
) -> dict[str, dict[str, Contrast]]:
    """By system, the contrast without each modality alone."""
    losses: dict[str, dict[str, Contrast]] = {}
    for one in variants:
        left_out = one.facts.get("left_out", [])
        if len(left_out) == 1 and one.title in shown:
            losses.setdefault(one.facts["system"], {})[left_out[0]] = shown[one.title]
    return losses


def _answer(variants: Sequence[Variant], shown: dict[str, Contrast], metric: str) -> str:
    losses = _single_losses(variants, shown)
    if not losses:
        return "no two subsets of the modalities worked, so there is nothing to compare"
    said = []
    for system, found in losses.items():
        helps = [_gain(name, one) for name, one in found.items() if one.is_worse]
        harms = [_gain(name, one) for name, one in found.items() if one.is_better]
        parts = [f"{join_names(helps)} helps"] if helps else []
        parts += [f"{join_names(harms)} harms"] if harms else []
        silent = [name for name, one in found.items() if not one.test.is_significant]
        parts += [f"of {join_names(silent)} nothing is shown"] if silent else []
        said.append(f"{system}: {', '.join(parts)}")
    runs = "" if all(one.test.over_seeds for one in shown.values()) else " (in these runs)"
    return f"in {name_metric(metric)} beside the other content, {'; '.join(said)}{runs}"


def _gain(name: str, without: Contrast) -> str:
    return f"{name} ({show(-without.test.difference)})"


def _findings(variants: Sequence[Variant], shown: dict[str, Contrast]) -> list[str]:
    lines = []
    for one in variants:
        found = shown.get(one.title)
        if found and (one.facts.get("control") == "shuffled" or one.facts.get("modalities") == []):
            lines.append(f"against all content, {one.title}: {found.interval}, {found.verdict}")
    return lines


def _picture(shown: dict[str, Contrast], metric: str, split: str) -> Picture:
    bars = [
        Bar(one.title, one.test.difference, one.test.low, one.test.high, one.test.is_significant)
        for one in shown.values()
    ]
    name = name_metric(metric)
    listed = "; ".join(f"{one.title} {one.interval} ({one.verdict})" for one in shown.values())
    return Picture(
        draw=lambda figure: draw_forest(figure, bars, f"{name} ({split}), minus all content"),
        height=forest_height(len(bars)),
        alt=f"Difference in {name} to all content with 95 % intervals. {listed}",
        caption=f"Difference in {name} to the same system with all content, with its 95 % "
        "interval. Filled: shown to differ after the correction; hollow: not shown.",
    )


def _table(outcome: Outcome, shown: dict[str, Contrast]) -> ReportTable:
    metric, rows = outcome.plan.metric, []
    for variant in outcome.variants:
        spread, one = outcome.spread(variant, metric), shown.get(variant.title)
        deviation = "–" if spread.std is None else f"{spread.std:.4f}"
        rows.append(
            [
                variant.title,
                f"{spread.mean:.4f} ± {deviation}",
                *(cells(one) if one else ["–"] * len(COLUMNS)),
            ]
        )
    table = Table(["content", name_metric(metric), *COLUMNS], rows)
    return ReportTable("Subsets and controls", table, "Differences are to all content.")
