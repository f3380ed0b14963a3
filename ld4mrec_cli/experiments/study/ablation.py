"""`study ablation`: each part of a model off on its own.

The parts are the settings that are marked with ``Switch`` (:mod:`ld4mrec_cli.settings.base`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ld4mrec_cli.config import Config, config_from_mapping, iter_switches
from ld4mrec_cli.config.yaml_reader import parse_yaml
from ld4mrec_cli.data.dataset import Dataset
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
from ld4mrec_cli.settings.base import AUTO, Switch, SwitchEach
from ld4mrec_cli.training.auto_settings import find_autos
from ld4mrec_cli.utils.errors import ConfigError, UserError
from ld4mrec_cli.utils.tables import Table

WHOLE = "whole"


def plan_ablation(request: Request) -> list[Variant]:
    """The whole model, its variants, and the other systems as references."""
    base, *references = request.systems
    variants = [Variant(System(base.label, base.config, base.source), WHOLE, {"role": WHOLE})]
    if request.vary:
        found = list(_varied(base.config, request.vary, is_crossed=request.is_crossed))
    else:
        found = [*_switched_off(base.config, request), *_others(base.config)]
        found = [(title, config) for title, config in found if config != base.config]
    if not found:
        raise UserError(
            f"{base.label} has no part that is on and can be switched off",
            hint="Name settings with --vary section.key=a,b",
        )
    for title, config in found:
        label = f"{base.label}-{_slug(title)}"
        variants.append(Variant(System(label, config, None), title, {"role": "variant"}))
    variants += [Variant(one, one.label, {"role": "reference"}) for one in references]
    return variants


def _switched_off(config: Config, request: Request) -> Iterator[tuple[str, Config]]:
    """Title and configuration without each part that is on."""
    spec, signals = MODELS[config.model_name], request.signals(config)
    for key, mark in iter_switches(config.model_name):
        if spec.closed_form and key.startswith("training."):
            continue
        if key.startswith("data.") and not spec.fades_histories:
            continue
        if isinstance(mark, SwitchEach):
            chosen = _get(config, key)
            names = (COLLABORATIVE, *signals) if chosen is None else chosen
            for name in names:
                rest = [other for other in names if other != name]
                yield f"without {mark.part} {name}", with_settings(config, {key: rest})
        elif (signals or not mark.needs_features) and _acts(config, key, mark, request.dataset):
            changes = {key: mark.off, **dict(mark.also)}
            yield f"without {mark.part}", with_settings(config, changes)


def _acts(config: Config, key: str, mark: Switch, dataset: Dataset) -> bool:
    """Whether a part is on, and does something with these settings and data."""
    value = _get(config, key)
    if value == AUTO:
        may_act = dataset.is_split_in_time if mark.needs_times else key in find_autos(config)
        if not may_act:
            return False
    return value != mark.off and (mark.needs is None or bool(_get(config, mark.needs)))


def _get(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def _others(config: Config) -> Iterator[tuple[str, Config]]:
    """The other parts of the mixture alone, and the model as published."""
    if config.model_name != "ld4mrec":
        return
    from ld4mrec_cli.models.ld4mrec.signals import ease_config, ials_config

    for name, settings in (("ease", ease_config), ("ials", ials_config)):
        if getattr(config.model, name) is True:  # auto may leave it out
            part = settings(config.model)
            update = {"model_name": name, name: part}
            yield f"{MODELS[name].title.split(' (')[0]} alone", config.model_copy(update=update)
    yield "as published (paper)", _as_published(config)


def _as_published(config: Config) -> Config:
    """The preset ``paper``, on the same data and with the same protocol and patience."""
    values = config.model_dump(mode="json")
    data = {key: values["data"][key] for key in ("path", "modalities", "use_weights")}
    kept = ("seed", "device", "max_epochs", "patience", "validate_every", "metric")
    return config_from_mapping(
        {
            "preset": "paper",
            "data": data,
            "evaluation": values["evaluation"],
            "training": {name: values["training"][name] for name in kept},
        }
    )


@dataclass(frozen=True)
class Varied:
    """A setting and the values that it takes."""

    key: str
    values: Sequence[Any]


def parse_vary(text: str) -> Varied:
    """Parse ``section.key=a,b``; the values are YAML. Raises ConfigError."""
    key, equals, values = text.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"--vary '{text}' is not of the form section.key=a,b")
    try:
        parsed = parse_yaml(f"[{values}]")
    except yaml.YAMLError:
        parsed = None
    if not isinstance(parsed, list) or not parsed:
        raise ConfigError(f"--vary '{key}': '{values}' is no list of values", hint="Give it as a,b")
    return Varied(key.strip(), parsed)


def _varied(
    config: Config, vary: Sequence[str], *, is_crossed: bool
) -> Iterator[tuple[str, Config]]:
    """Title and configuration of every value, or of every combination of them."""
    parsed = [parse_vary(text) for text in vary]
    settings = [[(one.key, value) for value in one.values] for one in parsed]
    choices: Iterable[tuple[tuple[str, Any], ...]] = itertools.product(*settings)
    if not is_crossed:
        choices = ((one,) for each in settings for one in each)
    for choice in choices:
        title = ", ".join(f"{key}={_show(value)}" for key, value in choice)
        yield title, with_settings(config, dict(choice))


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _slug(title: str) -> str:
    """A part of a file name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", title).strip("-").lower()


def report_ablation(outcome: Outcome) -> Report:
    """Every variant against the whole."""
    metric, variants = outcome.plan.metric, outcome.variants
    roles = {variant.title: variant.facts["role"] for variant in variants}
    whole = [variant for variant in variants if variant.facts["role"] == WHOLE]
    entries = [
        Entry(one.title, {name: outcome.sample(one, name) for name in outcome.plan.tested})
        for one in variants
    ]
    found = contrast(entries, outcome.plan.tested) if whole else []
    shown = [one for one in found if one.metric == metric]
    parts = [one for one in shown if roles[one.title] == "variant"]
    return Report(
        title=f"Ablation of {outcome.plan.variants[0].label}",
        question="Which parts carry the accuracy?",
        answer=_answer(parts, metric, has_whole=bool(whole)),
        findings=_findings(found, metric, roles),
        pictures=[_picture(shown, metric, outcome.plan.split)] if shown else [],
        tables=[_table(outcome, found)],
        method=[
            "Each variant differs from the whole in the named settings alone and is trained anew "
            "with the same seeds.",
            *describe_tests(found),
        ],
        data={"tests": [one.as_json() for one in found]},
    )


def _answer(found: Sequence[Contrast], metric: str, *, has_whole: bool) -> str:
    if not has_whole:
        return "no training of the whole model worked, so there is nothing to compare"
    worse = sorted((one for one in found if one.is_worse), key=lambda one: one.test.difference)
    better = [one for one in found if one.is_better]
    name, said = name_metric(metric), []
    for word, part in (("falls", worse), ("rises", better)):
        if part:
            said.append(f"{name} {word} {join_names([_name(one) for one in part])}")
    rest = len(found) - len(worse) - len(better)
    if not said:
        said.append(f"no variant is shown to differ from the whole in {name}")
    elif rest:
        said.append(f"for the other {rest} no difference is shown")
    runs = "" if all(one.test.over_seeds for one in found) else " (in these runs)"
    return "; ".join(said) + runs


def _name(one: Contrast) -> str:
    """The variant and its difference, as they follow ``NDCG@20 falls``."""
    joined = "" if one.title.startswith(("without ", "as published")) else "with "
    return f"{joined}{one.title} ({show(one.test.difference)})"


def _findings(found: Sequence[Contrast], metric: str, roles: dict[str, str]) -> list[str]:
    lines = []
    for one in found:
        if roles[one.title] == "reference" and one.metric == metric:
            lines.append(f"{one.title} against the whole: {one.interval}, {one.verdict}")
        elif one.metric != metric and one.test.is_significant:
            lines.append(f"{name_metric(one.metric)}, {one.title}: {one.interval}, {one.verdict}")
    return lines


def _picture(found: Sequence[Contrast], metric: str, split: str) -> Picture:
    bars = [
        Bar(one.title, one.test.difference, one.test.low, one.test.high, one.test.is_significant)
        for one in found
    ]
    name = name_metric(metric)
    listed = "; ".join(f"{one.title} {one.interval} ({one.verdict})" for one in found)
    return Picture(
        draw=lambda figure: draw_forest(figure, bars, f"{name} ({split}), minus the whole"),
        height=forest_height(len(bars)),
        alt=f"Difference in {name} to the whole model with 95 % intervals. {listed}",
        caption=f"Difference in {name} to the whole with its 95 % interval. Filled: shown to "
        "differ after the correction; hollow: not shown.",
    )


def _table(outcome: Outcome, found: Sequence[Contrast]) -> ReportTable:
    metric = outcome.plan.metric
    by_title = {one.title: one for one in found if one.metric == metric}
    rows = []
    for variant in outcome.variants:
        spread = outcome.spread(variant, metric)
        deviation = "–" if spread.std is None else f"{spread.std:.4f}"
        one = by_title.get(variant.title)
        runs = outcome.of(variant)
        seconds = [run.training_seconds for run in runs if run.training_seconds is not None]
        rows.append(
            [
                variant.title,
                f"{spread.mean:.4f} ± {deviation}",
                *(cells(one) if one else ["–"] * len(COLUMNS)),
                str(len(runs)) if variant.uses_seed else "–",
                f"{sum(seconds) / len(seconds):,.1f}" if seconds else "–",
            ]
        )
    table = Table(["variant", name_metric(metric), *COLUMNS, "seeds", "train s"], rows)
    note = "Mean ± standard deviation over seeds; differences are to the whole."
    return ReportTable("Variants", table, note)
