"""Settings that were chosen for a run, in place of ``auto``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ld4mrec_cli.config.schema import Config
from ld4mrec_cli.settings.base import AUTO


def apply_choice(config: Config, chosen: Mapping[str, Any]) -> Config:
    """``config`` with the ``chosen`` values by key where it has ``auto``."""
    update: dict[str, dict[str, Any]] = {}
    for key, value in chosen.items():
        section, _, name = key.partition(".")
        if getattr(getattr(config, section), name) == AUTO:
            update.setdefault(section, {})[name] = value
    sections = {
        section: getattr(config, section).model_copy(update=values)
        for section, values in update.items()
    }
    return config.model_copy(update=sections)
