"""What is chosen on validation before the training: the ridge, the content and the sign of EASE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config
from ld4mrec_cli.evaluation.validation import SplitValidator, balance_with_recall
from ld4mrec_cli.models.ease import EASE
from ld4mrec_cli.models.ease_settings import EASEChoice, EASEConfig
from ld4mrec_cli.models.ld4mrec.signals import ease_config
from ld4mrec_cli.models.ops.content_variants import ContentVariants
from ld4mrec_cli.settings.base import AUTO
from ld4mrec_cli.training.climb import climb

CHOICE_ITEMS = 5_000
"""Items that a choice is made on: of a larger catalog those with the most interactions. The time of
an inversion grows with their cube."""
CHOICE_USERS = 20_000
"""Most users that a choice is made on."""
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


def find_autos(config: Config) -> dict[str, str]:
    """Keys of the settings of EASE that are ``auto``, by their name in :class:`EASEConfig`.

    They are of the model ``ease``, or of EASE in LD4MRec.
    """
    settings = _find_settings(config)
    prefix = "ease." if config.model_name == "ease" else "model.ease_"
    return {name: prefix + name for name, value in settings or () if value == AUTO}


def choose_ease(
    config: Config,
    train: csr_matrix,
    features: Mapping[str, np.ndarray],
    validator: SplitValidator,
) -> dict[str, Any]:
    """Choose the settings of EASE that are ``auto``.

    They are those of the best EASE by itself, on the part of the catalog with the most
    interactions. Without a validation user there, they are where a choice starts.

    Args:
        config: of the training.
        train: training interactions ``(n_users, n_items)``.
        features: modality → item features ``(n_items, dim)``.
        validator: of the training.

    Returns:
        The chosen values by key of the setting; empty where none is ``auto``.

    Raises:
        UserError: the ridge is too small for float64.
    """
    settings, autos = _find_settings(config), find_autos(config)
    if settings is None or not autos:
        return {}
    items = _most_interacted(train, CHOICE_ITEMS)
    part = validator.restrict(items, CHOICE_USERS, config.training.seed)
    choice = settings.choice
    if part is not None:
        own = {name: values[items] for name, values in features.items()}
        value = _Objective(settings, csr_matrix(train[:, items]), own, part, config.training.metric)
        choice = _search(settings, list(features), value)
    return {key: getattr(choice, name) for name, key in autos.items()}


def apply_choice(config: Config, chosen: Mapping[str, Any]) -> Config:
    """``config`` with the ``chosen`` values by key, in place of ``auto``."""
    update: dict[str, dict[str, Any]] = {}
    for key, value in chosen.items():
        section, _, name = key.partition(".")
        update.setdefault(section, {})[name] = value
    sections = {
        section: getattr(config, section).model_copy(update=values)
        for section, values in update.items()
    }
    return config.model_copy(update=sections)


def _find_settings(config: Config) -> EASEConfig | None:
    """Settings of EASE, as the model or as a part of LD4MRec; None where there is none."""
    if config.model_name == "ease":
        settings: EASEConfig = config.model_settings
        return settings
    if config.model_name == "ld4mrec" and config.model.ease:
        return ease_config(config.model)
    return None


def _most_interacted(train: csr_matrix, n_items: int) -> np.ndarray:
    """At most ``n_items`` items, those with the most interactions, ascending."""
    degree = train.getnnz(axis=0)
    return np.sort(np.argsort(-degree, kind="stable")[:n_items])


class _Objective:
    """The :data:`Value` of settings on a part of the catalog; each is computed once."""

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


def _search(settings: EASEConfig, modalities: Sequence[str], value: Value) -> EASEChoice:
    """One setting after the other: the weight of each modality, the sign, the ridge."""
    choice = settings.choice
    if settings.content_weight == AUTO:
        choice = replace(choice, content_weight=choice.content_weights(modalities))
        for name in modalities:
            choice = _choose_content_weight(choice, name, value)
    if settings.nonnegative == AUTO:
        other = replace(choice, nonnegative=True)
        choice = other if _pays(value(other), value(choice)) else choice
    if settings.ridge == AUTO:
        start = RIDGES.index(choice.ridge)
        ridge, _ = climb(RIDGES, start, lambda one: value(replace(choice, ridge=one)), _pays)
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
    return weigh(best if _pays(value(weigh(best)), value(weigh(0.0))) else 0.0)


def _pays(value: float, without: float) -> bool:
    """Whether something raises the value enough."""
    return value > without * (1.0 + MIN_GAIN)
