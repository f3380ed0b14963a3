"""What is chosen on validation before the training: settings of the closed-form parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config
from ld4mrec_cli.evaluation.validation import SplitValidator
from ld4mrec_cli.models.ease_settings import EASEChoice, EASEConfig
from ld4mrec_cli.models.ials_settings import IALSChoice, IALSConfig
from ld4mrec_cli.models.ld4mrec.signals import IALS_SETTINGS, ease_config, ials_config
from ld4mrec_cli.settings.base import AUTO
from ld4mrec_cli.training.ease_choice import EASEValue, search_ease
from ld4mrec_cli.training.ials_choice import IALSValue, carry_over, search_ials

CHOICE_ITEMS = 5_000
"""Items that a choice is made on: of a larger catalog those with the most interactions. The time of
an inversion grows with their cube."""
CHOICE_USERS = 20_000
"""Most users that a choice is made on."""
IALS_SWITCH = "model.ials"

OnStage = Callable[[str], None]


def find_autos(config: Config) -> list[str]:
    """Keys of the settings of EASE and iALS that are ``auto``, of a part that may be used."""
    keys = []
    for settings, prefix in ((_find_ease(config), "ease"), (_find_ials(config), "ials")):
        if settings is not None:
            names = [name for name, value in settings if value == AUTO]
            keys += [_key(config, prefix, name) for name in names]
    if _may_take_ials(config):
        keys.append(IALS_SWITCH)
    return keys


def choose_autos(
    config: Config,
    train: csr_matrix,
    features: Mapping[str, np.ndarray],
    validator: SplitValidator,
    on_stage: OnStage = lambda text: None,
) -> dict[str, Any]:
    """Choose the settings of EASE and iALS that are ``auto``.

    They are those of the best EASE and the best iALS by themselves, on the part of the catalog with
    the most interactions. iALS joins the mixture of LD4MRec where it is better by itself than EASE.
    Without a validation user there, the settings are where a choice starts.

    Args:
        config: of the training.
        train: training interactions ``(n_users, n_items)``.
        features: modality → item features ``(n_items, dim)``.
        validator: of the training.
        on_stage: gets a line before each search.

    Returns:
        The chosen values by key of the setting; empty where none is ``auto``.

    Raises:
        UserError: the ridge of EASE is too small for float64.
    """
    autos = find_autos(config)
    if not autos:
        return {}
    items = _most_interacted(train, CHOICE_ITEMS)
    restricted = validator.restrict(items, CHOICE_USERS, config.training.seed)
    part = None
    if restricted is not None:
        own = {name: values[items] for name, values in features.items()}
        part = _Part(config, csr_matrix(train[:, items]), own, restricted, on_stage)
    chosen: dict[str, Any] = {}
    ease, ials = _find_ease(config), _find_ials(config)
    if ease is not None:
        chosen |= _name_values(config, "ease", ease.choice if part is None else part.ease_choice)
    if ials is not None:
        found = None if part is None else part.search_ials(ials)
        joins = found is not None or not _may_take_ials(config)
        chosen[IALS_SWITCH] = joins
        if joins:
            choice = found or ials.choice
            if part is not None and ials.regularization == AUTO:
                choice = carry_over(choice, part.train, train)
            chosen |= _name_values(config, "ials", choice)
    return {key: value for key, value in chosen.items() if key in autos}


@dataclass(frozen=True)
class _Part:
    """The part of the data that a choice is made on."""

    config: Config
    train: csr_matrix
    features: Mapping[str, np.ndarray]
    validator: SplitValidator
    on_stage: OnStage

    @cached_property
    def _ease_value(self) -> EASEValue:
        settings, metric = _find_ease(self.config), self.config.training.metric
        assert settings is not None
        return EASEValue(settings, self.train, self.features, self.validator, metric)

    @cached_property
    def ease_choice(self) -> EASEChoice:
        """The best settings of EASE."""
        settings = _find_ease(self.config)
        assert settings is not None
        if AUTO in dict(settings).values():
            self.on_stage("choosing on validation what EASE is made of")
        return search_ease(settings, list(self.features), self._ease_value)

    def search_ials(self, settings: IALSConfig) -> IALSChoice | None:
        """The best settings of iALS; None where it is to be better than EASE, and is not."""
        training = self.config.training
        least = 0.0
        if _may_take_ials(self.config):
            least = self._ease_value(self.ease_choice)
        asked = "whether iALS joins" if _may_take_ials(self.config) else "what iALS is made of"
        self.on_stage(f"choosing on validation {asked}")
        value = IALSValue(settings, self.train, self.validator, training.metric, training.seed)
        return search_ials(settings, value, value.mean_frequency, least)


def _find_ease(config: Config) -> EASEConfig | None:
    """Settings of EASE, as the model or as a part of LD4MRec; None where there is none."""
    if config.model_name == "ease":
        settings: EASEConfig = config.model_settings
        return settings
    if config.model_name == "ld4mrec" and config.model.ease:
        return ease_config(config.model)
    return None


def _find_ials(config: Config) -> IALSConfig | None:
    """Settings of iALS, as the model or as a part that LD4MRec has or may take."""
    if config.model_name == "ials":
        settings: IALSConfig = config.model_settings
        return settings
    if config.model_name == "ld4mrec" and (config.model.ials is True or _may_take_ials(config)):
        return ials_config(config.model)
    return None


def _may_take_ials(config: Config) -> bool:
    """Whether iALS joins the mixture if it is better than EASE, which is there."""
    return (
        config.model_name == "ld4mrec"
        and config.model.ials == AUTO
        and config.model.ease
        and config.training.loss == "multinomial"
    )


def _name_values(config: Config, part: str, choice: EASEChoice | IALSChoice) -> dict[str, Any]:
    """Values of a choice by key of the setting."""
    return {_key(config, part, name): value for name, value in vars(choice).items()}


def _key(config: Config, part: str, name: str) -> str:
    """Key of a setting of a part, which is the model or in LD4MRec."""
    if config.model_name == part:
        return f"{part}.{name}"
    return f"model.ease_{name}" if part == "ease" else f"model.{IALS_SETTINGS[name]}"


def _most_interacted(train: csr_matrix, n_items: int) -> np.ndarray:
    """At most ``n_items`` items, those with the most interactions, ascending."""
    degree = train.getnnz(axis=0)
    return np.sort(np.argsort(-degree, kind="stable")[:n_items])
