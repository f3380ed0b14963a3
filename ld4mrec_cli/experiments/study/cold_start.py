"""`study cold-start`: short histories, items of few interactions, and items of none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.experiments.compare.systems import System
from ld4mrec_cli.experiments.study.cold_probes import AllItems, ShortHistories
from ld4mrec_cli.experiments.study.derived import WithoutItems
from ld4mrec_cli.experiments.study.new_item_probe import NewItems
from ld4mrec_cli.experiments.study.plan import Reading, Variant
from ld4mrec_cli.experiments.study.request import Request
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.utils.errors import UserError

LENGTHS = (1, 2, 3, 5, 10, 20, 50, 100)
"""Lengths that histories are cut to, as far as a tenth of them is longer."""
QUICK_LENGTHS = (1, 3, 10)
SHARE = 0.1
"""Share of the items in each of the two samples that are held out."""
POPULARITY = "popularity"
CONTENT = "knn"
"""Start of the names of the content kNN's readings, which the runs of popularity carry."""
KNOWN, NEW = "known items", "new items"


def plan_cold_start(request: Request) -> list[Variant]:
    """Every system on the dataset, and where it can score new items, on one without some items.

    Popularity is always there. The content kNN has no training: it is evaluated beside it.

    Raises:
        UserError: no system is left that the dataset has features for.
    """
    has_content = bool(request.dataset.modality_names())
    systems = [
        one
        for one in request.systems
        if request.signals(one.config) or not MODELS[one.config.model_name].needs_features
    ]
    if not systems:
        raise UserError("no system is left that the dataset has features for")
    if all(one.config.model_name != POPULARITY for one in systems):
        config = systems[0].config.model_copy(update={"model_name": POPULARITY})
        systems.append(System(POPULARITY, config, None))
    lengths = choose_lengths(request.dataset, QUICK_LENGTHS if request.is_quick else LENGTHS)
    variants = []
    for system in systems:
        carries_content = has_content and system.config.model_name == POPULARITY
        facts = {"system": system.label, "part": KNOWN}
        readings = list(_known_readings(system, lengths))
        if carries_content:
            readings += _content_readings(lengths)
        variants.append(Variant(system, system.label, facts, readings=tuple(readings)))
        if has_content:
            variants += _without_items(system, carries_content=carries_content)
    return variants


def choose_lengths(dataset: Dataset, lengths: Sequence[int]) -> tuple[int, ...]:
    """Those of the lengths that a tenth of the training histories have, and the first."""
    longest = np.quantile(np.diff(dataset.matrix(Split.TRAIN).indptr), 0.9)
    return tuple(one for one in lengths if one <= max(longest, lengths[0]))


def length_reading(length: int, prefix: str = "") -> str:
    """Name of the reading of histories of a length."""
    return f"{prefix}-history{length}" if prefix else f"history{length}"


def _known_readings(system: System, lengths: Sequence[int]) -> Iterator[Reading]:
    yield Reading(probe=AllItems())
    if MODELS[system.config.model_name].scores_new_users:
        for length in lengths:
            probe = ShortHistories(length=length)
            yield Reading(length_reading(length), probe=probe, is_drawn=True)


def _content_readings(lengths: Sequence[int]) -> Iterator[Reading]:
    yield Reading(CONTENT, probe=AllItems(uses_content=True))
    for length in lengths:
        probe = ShortHistories(uses_content=True, length=length)
        yield Reading(length_reading(length, CONTENT), probe=probe, is_drawn=True)


def _without_items(system: System, *, carries_content: bool) -> Iterator[Variant]:
    spec = MODELS[system.config.model_name]
    if not (spec.takes_new_items or spec.scores_new_items or carries_content):
        return
    derivation = WithoutItems(SHARE, stay_in_catalog=not (spec.takes_new_items or carries_content))
    probe = NewItems(derivation, uses_content=carries_content)
    name = CONTENT if carries_content else ""
    yield Variant(
        System(f"{system.label}-new", system.config, None),
        f"{system.label}, without a fifth of the items",
        {"system": system.label, "part": NEW},
        derivation=derivation,
        readings=(Reading(name, probe=probe),),
    )
