"""Search spaces: which settings a search may change, and to what."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ld4mrec_cli.config import Config, config_from_mapping
from ld4mrec_cli.utils.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    """Whether values are drawn evenly on a logarithmic scale."""
    step: float | None = None
    """Distance of neighboring values, counted from ``low``; None is any value."""
    whole: bool = False
    """Whether the setting is a whole number."""

    def contains(self, value: Any) -> bool:
        """Whether the interval holds a value."""
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not self.low <= value <= self.high
        ):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return math.isclose(steps, round(steps), abs_tol=1e-8)

    def nearest(self, value: Any) -> float | int | None:
        """The nearest number of the range; None where ``value`` is no number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if self.contains(value):
            return value
        nearest = min(max(float(value), self.low), self.high)
        if self.step:
            n_steps = math.floor((self.high - self.low) / self.step + 1e-8)
            position = min(round((nearest - self.low) / self.step), n_steps)
            nearest = min(self.low + self.step * position, self.high)
        return round(nearest) if self.whole else nearest


@dataclass(frozen=True)
class Categorical:
    """Values of any kind, one of which is taken."""

    values: tuple[Any, ...]

    def contains(self, value: Any) -> bool:
        """Whether a value is one of the choices."""
        return self.position(value) is not None

    def position(self, value: Any) -> int | None:
        """Index of a value, None where it is no choice; 1, 1.0 and true are three values."""
        texts = [json.dumps(choice) for choice in self.values]
        return texts.index(json.dumps(value)) if json.dumps(value) in texts else None


@dataclass(frozen=True)
class Space:
    """The settings that a search may change, by config key."""

    parameters: Mapping[str, Range | Categorical]

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Plain values, for JSON; equal spaces give equal ones."""
        plain: dict[str, dict[str, Any]] = {}
        for key, parameter in self.parameters.items():
            if isinstance(parameter, Categorical):
                plain[key] = {"choices": list(parameter.values)}
            else:
                fields = {
                    name: value for name, value in asdict(parameter).items() if name != "whole"
                }
                plain[key] = {
                    name: value
                    for name, value in fields.items()
                    if value is not None and value is not False
                }
        return plain

    def values_of(self, config: Config) -> dict[str, Any]:
        """The values that a config has for the settings of the space."""
        return {key: get_value(config, key) for key in self.parameters}

    def contains(self, values: Mapping[str, Any]) -> bool:
        """Whether the values lie in the space."""
        return all(parameter.contains(values[key]) for key, parameter in self.parameters.items())


def with_values(base: Config, values: Mapping[str, Any]) -> Config:
    """``base`` with other values, by config key. Raises ConfigError if they do not fit."""
    plain = base.model_dump(mode="json")
    for key, value in values.items():
        section, name = key.split(".")
        plain[section][name] = value
    return config_from_mapping(plain)


def is_valid(base: Config, values: Mapping[str, Any]) -> bool:
    """Whether values fit together, and to the other settings of ``base``."""
    try:
        with_values(base, values)
    except ConfigError:
        return False
    return True


def get_value(config: Config, key: str) -> Any:
    """A setting by its key, as plain JSON."""
    section, name = key.split(".")
    return config.model_dump(mode="json")[section][name]
