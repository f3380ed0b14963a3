"""Search spaces as files: YAML mappings from config key to an interval or to choices.

::

    training.learning_rate: {low: 1e-4, high: 1e-2, log: true}
    model.dropout: {low: 0.2, high: 0.8, step: 0.1}
    training.loss: {choices: [multinomial, mse]}
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ld4mrec_cli.config import Config, iter_searchable, iter_sections, owner, read_yaml
from ld4mrec_cli.experiments.tune.space import Categorical, Range, Space, get_value, with_values
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.settings.base import Preset
from ld4mrec_cli.utils.errors import ConfigError, nearest

NOTHING_TO_TUNE = frozenset({"popularity"})
"""Models without a setting."""

Number = Annotated[float, Field(allow_inf_nan=False)]


class _RangeSpec(BaseModel):
    """An interval as written in a space file."""

    model_config = ConfigDict(extra="forbid")
    low: Number
    high: Number
    log: bool = False
    step: Annotated[Number, Field(gt=0.0)] | None = None


class _CategoricalSpec(BaseModel):
    """Categorical as written in a space file."""

    model_config = ConfigDict(extra="forbid")
    choices: Annotated[list[Any], Field(min_length=1)]


def load_space(path: Path, base: Config) -> Space:
    """Read a space file. Raises ConfigError with file and key."""
    return space_from_mapping(
        read_yaml(path, "search space", "config keys to intervals or choices"), base, path
    )


def builtin_space(base: Config) -> Space:
    """The built-in space for the model and preset of ``base``. Raises ConfigError without one."""
    text = builtin_space_text(base.model_name, base.preset)
    return space_from_mapping(yaml.safe_load(text), base)


def builtin_space_text(model: str, preset: Preset = "default") -> str:
    """YAML of a built-in space, with comments. Raises ConfigError if there is none.

    A preset of LD4MRec has a space of its own, which leaves what it switches off.
    """
    check_tunable(model)
    name = f"{model}-{preset}" if model == "ld4mrec" and preset != "default" else model
    path = importlib.resources.files("ld4mrec_cli") / "presets" / "spaces" / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"there is no built-in search space for {model}", hint="Give one with --space FILE"
        )
    return path.read_text(encoding="utf-8")


def check_tunable(model: str) -> None:
    """Raise ConfigError for a model that has no settings."""
    if model in NOTHING_TO_TUNE:
        raise ConfigError(
            f"{model} has no settings, there is nothing to tune", hint="Name another --model"
        )


def space_from_mapping(values: Mapping[str, Any], base: Config, where: Path | None = None) -> Space:
    """Validate a space around ``base``. Raises ConfigError as :func:`load_space`."""
    check_tunable(base.model_name)
    if not values:
        hint = "Give it as section.key: {low: 0.1, high: 0.9} or section.key: {choices: [a, b]}"
        raise ConfigError("the search space is empty", where=where, hint=hint)
    try:
        return Space({str(key): _parameter(str(key), spec, base) for key, spec in values.items()})
    except ConfigError as error:
        raise ConfigError(str(error), where=where) from None


def _parameter(key: str, spec: Any, base: Config) -> Range | Categorical:
    number = _number_type(_annotation(key, base.model_name))
    if not isinstance(spec, Mapping):
        raise ConfigError(
            f"{key}: is neither {{low: …, high: …}} nor {{choices: […]}} (got {spec!r})"
        )
    try:
        if "choices" in spec:
            return _choices(key, _CategoricalSpec.model_validate(spec).choices, base)
        if number is None:
            raise ConfigError(
                f"{key}: is not a number, so it takes choices", hint=f"{key}: {{choices: […]}}"
            )
        return _make_range(key, _RangeSpec.model_validate(spec), number is int, base)
    except ValidationError as error:
        raise ConfigError(f"{key}: {_fault(error, spec)}") from None


def _choices(key: str, choices: list[Any], base: Config) -> Categorical:
    values = tuple(_normalize(key, choice, base) for choice in choices)
    texts = [json.dumps(value) for value in values]
    for text in texts:
        if texts.count(text) > 1:
            raise ConfigError(f"{key}: names {text} twice")
    return Categorical(values)


def _make_range(key: str, spec: _RangeSpec, whole: bool, base: Config) -> Range:
    if spec.low >= spec.high:
        raise ConfigError(f"{key}: low must be below high (got {spec.low:g} and {spec.high:g})")
    if spec.log and spec.step:
        raise ConfigError(f"{key}: log and step exclude each other")
    if spec.log and spec.low <= 0.0:
        raise ConfigError(f"{key}: log needs a low above 0 (got {spec.low:g})")
    if spec.step and spec.step > spec.high - spec.low:
        raise ConfigError(f"{key}: step {spec.step:g} is more than lies between low and high")
    if whole and spec.step and spec.step != int(spec.step):
        raise ConfigError(f"{key}: is a whole number, so its step is one too (got {spec.step:g})")
    low, high = _normalize(key, spec.low, base), _normalize(key, spec.high, base)
    step = int(spec.step) if whole and spec.step else spec.step
    return Range(low, high, spec.log, step, whole)


def _normalize(key: str, value: Any, base: Config) -> Any:
    """The value as the config model reads it, plain JSON. Raises ConfigError for an invalid one.

    A conflict with other settings of ``base`` is no error: the settings of a trial may differ.
    """
    try:
        return get_value(with_values(base, {key: value}), key)
    except ConfigError as error:
        if str(error).startswith(key):
            raise
        return value


def _annotation(key: str, model: str) -> Any:
    """Type of a setting. Raises ConfigError for a key that is unknown or not searched."""
    searchable = dict(iter_searchable())
    section, _, name = key.partition(".")
    model_section = dict(iter_sections()).get(section)
    if model_section is None or name not in model_section.model_fields:
        raise ConfigError(f"unknown key '{key}'", hint=nearest(key, searchable))
    if key not in searchable:
        raise ConfigError(
            f"{key}: is not searched, it does not make a better model or makes trials incomparable"
        )
    reading_model = owner(key) or model
    if reading_model != model:
        raise ConfigError(f"{key}: belongs to {reading_model}, and {model} is searched")
    if section == "training" and MODELS[model].closed_form:
        raise ConfigError(f"{key}: {model} is closed-form and does not read it")
    return searchable[key]


def _number_type(annotation: Any) -> type[int] | type[float] | None:
    """Int or float for a number, also one that may be unset; else None."""
    if annotation in (int, float):
        return annotation
    inner = get_args(annotation) if get_origin(annotation) in (Annotated, Union, UnionType) else ()
    return next((kind for kind in map(_number_type, inner) if kind), None)


def _fault(error: ValidationError, spec: Mapping[Any, Any]) -> str:
    """The first fault of an interval or of choices, in words."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = ("choices",) if "choices" in spec else ("low", "high", "log", "step")
        return f"unknown '{name}'. {nearest(name, known)}"
    if fault["type"] == "missing":
        return f"'{name}' is missing"
    return f"{name}: {fault['msg']} (got {fault['input']!r})"
