"""From a YAML file, overrides and flags to a validated configuration, and back."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from ld4mrec_cli.config.schema import Config, iter_sections
from ld4mrec_cli.config.yaml_reader import parse_yaml, read_yaml
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.settings.base import Preset
from ld4mrec_cli.utils.errors import ConfigError, nearest
from ld4mrec_cli.utils.text import printable_lines

MAX_SHOWN = 80
"""Characters of a bad value that a message shows."""
YAML_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The ones in C are faster, but not in every build of PyYAML."""


def load_config(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    base: Config | None = None,
) -> Config:
    """Read a YAML file, apply ``section.key=value`` overrides, then flags, and validate.

    Args:
        path: the YAML file.
        overrides: texts ``section.key=value``, the value in YAML.
        flags: value by ``section.key``; None counts as absent.
        base: where values come from without a file; None takes the defaults.

    Raises:
        ConfigError: the file is missing or no YAML mapping, a key is unknown, a value does not fit.
    """
    values = read_yaml(path) if path else base.model_dump(mode="json") if base else {}
    for override in overrides:
        _set(values, *_parse_override(override))
    for key, value in (flags or {}).items():
        if value is not None:
            _set(values, key, value)
    return config_from_mapping(values, where=path)


def config_from_mapping(values: Mapping[str, Any], where: Path | None = None) -> Config:
    """Validate ``values`` over those of the preset and of the model.

    Args:
        values: sections and settings; what is absent comes from the preset, then from the model's
            published settings, then from the defaults.
        where: file that they come from, for messages.

    Raises:
        ConfigError: a key is unknown or a value does not fit.
    """
    preset, model = values.get("preset") or "default", values.get("model_name") or "ld4mrec"
    for key, kind, name, known in (
        ("preset", "preset", preset, get_args(Preset)),
        ("model_name", "model", model, tuple(MODELS)),
    ):
        if name not in known:
            hint = nearest(str(name), known)
            raise ConfigError(f"{key}: unknown {kind} '{name}'", where=where, hint=hint)
    defaults = _merge(_preset_values(preset), _model_values(model))
    merged = _merge(defaults, values)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, merged), where=where) from None


def config_to_yaml(config: Config) -> str:
    """Return the complete configuration as YAML; :func:`load_config` reads an equal one back."""
    values = config.model_dump(mode="json")
    text = yaml.dump(values, Dumper=YAML_DUMPER, sort_keys=False, allow_unicode=True)
    if printable_lines(text) == text and YAML_LOADER(text).get_single_data() == values:
        return text
    # escaped: characters that a terminal would obey, and rare line breaks that YAML would lose
    return yaml.dump(values, Dumper=YAML_DUMPER, sort_keys=False)


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"--set '{override}' is not of the form section.key=value")
    try:
        return key.strip(), parse_yaml(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set '{key}': the value is not valid YAML") from None


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    target = values
    for section in sections:
        child = target.get(section)
        if child is None:
            child = target[section] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"'{section}' is not a section, so '{key}' cannot be set")
        target = child
    target[name] = value


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge section by section; an empty section (just ``model:``) counts as absent."""
    merged = dict(base)
    for key, value in over.items():
        section = key in _section_names()
        if section and value is None:
            continue
        if section and isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = {**merged[key], **value}
        else:
            merged[key] = value
    return merged


def preset_text(preset: str) -> str:
    """The YAML of a preset's overrides, with its comments."""
    return (importlib.resources.files("ld4mrec_cli") / "presets" / f"{preset}.yaml").read_text(
        encoding="utf-8"
    )


def _preset_values(preset: str) -> dict[str, Any]:
    return {} if preset == "default" else yaml.safe_load(preset_text(preset))


def model_text(model: str) -> str | None:
    """The YAML of a model's published training settings, with its comments; None if none."""
    path = importlib.resources.files("ld4mrec_cli") / "presets" / "models" / f"{model}.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _model_values(model: str) -> dict[str, Any]:
    text = model_text(model)
    return yaml.safe_load(text) if text else {}


def _section_names() -> set[str]:
    return {name for name, _ in iter_sections()}


def _first_problem(error: ValidationError, values: Mapping[str, Any]) -> str:
    """The first problem of a validation in one line; an unknown key goes first.

    A setting of several types has a problem for each; the one deepest in the value is shown.
    """
    problems = error.errors(include_url=False)
    problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    if problem["type"] != "extra_forbidden":
        same = [each for each in problems if each["loc"][:2] == problem["loc"][:2]]
        problem = max(same, key=lambda each: len(_given_keys(each["loc"], values)))
    *sections, name = map(str, _given_keys(problem["loc"], values) or ("configuration",))
    key = ".".join((*sections, name))
    if problem["type"] == "extra_forbidden":
        section = dict(iter_sections()).get(sections[0]) if sections else Config
        return f"unknown key '{key}'. {nearest(name, section.model_fields if section else ())}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message} (got {_abbreviate(problem['input'])})"


def _given_keys(location: Iterable[str | int], values: Any) -> list[str | int]:
    """Path of a problem without pydantic's names for types, which are no keys of the values."""
    keys = []
    for part in location:
        is_key = isinstance(values, Mapping) and part in values
        if is_key or (isinstance(values, list | tuple) and isinstance(part, int)):
            values = values[part]
            keys.append(part)
    return keys


def _abbreviate(value: Any) -> str:
    """A value for a message, at most ``MAX_SHOWN`` characters long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # ValueError: an integer of thousands of digits
        return f"a very large {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
