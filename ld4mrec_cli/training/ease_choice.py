"""How the ridge, the content and the sign of EASE are chosen on validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.validation import SplitValidator, balance_with_recall
from ld4mrec_cli.models.ease import EASE
from ld4mrec_cli.models.ease_settings import EASEChoice, EASEConfig
from ld4mrec_cli.models.ops.content_variants import ContentVariants
from ld4mrec_cli.settings.base import AUTO
from ld4mrec_cli.training.climb import climb

RIDGES = tuple(25.0 * 2.0**n for n in range(9))
"""Ridges that are tried, as long as it gets better."""
CONTENT_WEIGHTS = (1.0, 4.0, 16.0, 64.0)
"""Weights of a modality that are all tried, beside 0: a climb would stop at a small bump."""
MAX_CONTENT_WEIGHT = 4096.0

MIN_GAIN = 0.0025
"""Share by which a sign, a modality or a step of the ridge must raise the value: less may be
chance, and is left out."""

Value = Callable[[EASEChoice], float]
"""Value of EASE with such settings on validation, higher is better."""


class EASEValue:
    """The :data:`Value` of settings; each is computed once."""

    def __init__(
        self,
        settings: EASEConfig,
        train: csr_matrix,
        features: Mapping[str, np.ndarray],
        validator: SplitValidator,
        metric: str,
    ) -> None:
        self._settings = settings
        self._train = train
        self._features = features
        self._validator = validator
        self._metric = metric
        self._ridge: float | None = None
        self._variants: ContentVariants | None = None
        """Of the last ridge."""
        self._values: dict[tuple[Any, ...], float] = {}

    def __call__(self, choice: EASEChoice) -> float:
        """See :data:`Value`. Raises UserError where the ridge is too small for float64."""
        content = choice.content_weights(self._features)
        key = (choice.ridge, choice.nonnegative, *content.items())
        if key not in self._values:
            weights = self._invert(choice.ridge).weights(content)
            if choice.nonnegative:
                np.clip(weights, 0.0, None, out=weights)
            self._values[key] = balance_with_recall(self._validator(EASE(weights)), self._metric)
        return self._values[key]

    def _invert(self, ridge: float) -> ContentVariants:
        if self._variants is None or ridge != self._ridge:
            exponents = (self._settings.degree_ridge, self._settings.user_exponent)
            self._variants = ContentVariants(self._train, ridge, *exponents, self._features)
            self._ridge = ridge
        return self._variants


def search_ease(settings: EASEConfig, modalities: Sequence[str], value: Value) -> EASEChoice:
    """One setting after the other: the weight of each modality, the sign, the ridge."""
    choice = settings.choice
    if settings.content_weight == AUTO:
        choice = replace(choice, content_weight=choice.content_weights(modalities))
        for name in modalities:
            choice = _choose_content_weight(choice, name, value)
    if settings.nonnegative == AUTO:
        other = replace(choice, nonnegative=True)
        choice = other if pays(value(other), value(choice)) else choice
    if settings.ridge == AUTO:
        start = RIDGES.index(choice.ridge)
        ridge, _ = climb(RIDGES, start, lambda one: value(replace(choice, ridge=one)), pays)
        choice = replace(choice, ridge=ridge)
    return choice


def _choose_content_weight(choice: EASEChoice, name: str, value: Value) -> EASEChoice:
    """The best weight of a modality, the others being as they are."""

    def weigh(weight: float) -> EASEChoice:
        return replace(choice, content_weight={**choice.content_weights([name]), name: weight})

    def best_of(*weights: float) -> float:
        return max(weights, key=lambda weight: value(weigh(weight)))

    best = best_of(*CONTENT_WEIGHTS)
    while best >= max(CONTENT_WEIGHTS) and best < MAX_CONTENT_WEIGHT:
        further = best_of(best, 4.0 * best)
        if further == best:
            break
        best = further
    best = best_of(best, best / 2.0, best * 2.0)
    return weigh(best if pays(value(weigh(best)), value(weigh(0.0))) else 0.0)


def pays(value: float, without: float) -> bool:
    """Whether something raises the value enough."""
    return value > without * (1.0 + MIN_GAIN)
