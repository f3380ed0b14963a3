"""From a YAML file, overrides and flags to a validated configuration, and back."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from ld4mrec_cli.config.schema import Config, iter_sections
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.settings.base import Preset
from ld4mrec_cli.utils.errors import ConfigError, nearest


def load_config(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    base: Config | None = None,
) -> Config:
    """Read a YAML file, apply ``section.key=value`` overrides, then flags, and validate.

    Args:
        flags: value by ``section.key``; a value of None counts as not given.
        base: where values come from without a file; the defaults where None.

    Raises:
        ConfigError: the file is missing or no YAML mapping, a key is unknown or a value does not fit.
    """
    values = read_yaml(path) if path else base.model_dump(mode="json") if base else {}
    for override in overrides:
        _set(values, *_parse_override(override))
    for key, value in (flags or {}).items():
        if value is not None:
            _set(values, key, value)
    return config_from_mapping(values, where=path)


def config_from_mapping(values: Mapping[str, Any], where: Path | None = None) -> Config:
    """Validate ``values`` over the preset and the model's published settings. Raises ConfigError."""
    preset, model = values.get("preset") or "default", values.get("model_name") or "ld4mrec"
    named = (
        ("preset", "preset", preset, get_args(Preset)),
        ("model_name", "model", model, tuple(MODELS)),
    )
    for key, kind, name, known in named:
        if name not in known:
            raise ConfigError(
                f"{key}: unknown {kind} '{name}'", where=where, hint=nearest(str(name), known)
            )
    try:
        return Config.model_validate(
            _merge(_merge(_preset_values(preset), _model_values(model)), values)
        )
    except ValidationError as error:
        raise ConfigError(_first_fault(error), where=where) from None


def config_to_yaml(config: Config) -> str:
    """Return the complete configuration as YAML that :func:`load_config` reads back to an equal config."""
    values = config.model_dump(mode="json")
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    if yaml.safe_load(text) == values:
        return text
    return yaml.safe_dump(
        values, sort_keys=False
    )  # some rare line breaks come back only when escaped


def read_yaml(path: Path, what: str = "configuration", of: str = "sections") -> dict[str, Any]:
    """Read a YAML mapping. Raises ConfigError, which calls the file a ``what``, a mapping ``of`` something."""
    try:
        values = _StrictLoader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise ConfigError(f"no such {what} file", where=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=path) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "malformed"
        raise ConfigError(
            f"not valid YAML: {problem}", where=path, line=mark.line + 1 if mark else None
        ) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"a {what} is a mapping of {of}", where=path)
    return values


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, of which plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{key}' is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"--set '{override}' is not of the form section.key=value")
    try:
        return key.strip(), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # ValueError: a date that does not exist
        raise ConfigError(f"--set '{override}': the value is not valid YAML") from None


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
    """Merge section by section; an empty section (``model:`` with nothing under it) counts as absent."""
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
    """The YAML of a baseline's published training settings, with its comments; None where it has none."""
    path = importlib.resources.files("ld4mrec_cli") / "presets" / "models" / f"{model}.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _model_values(model: str) -> dict[str, Any]:
    text = model_text(model)
    return yaml.safe_load(text) if text else {}


def _section_names() -> set[str]:
    return {name for name, _ in iter_sections()}


def _first_fault(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    place = ".".join(str(part) for part in fault["loc"]) or "configuration"
    if fault["type"] == "extra_forbidden":
        section = (
            dict(iter_sections()).get(str(fault["loc"][0])) if len(fault["loc"]) > 1 else Config
        )
        return f"unknown key '{place}'. {nearest(str(fault['loc'][-1]), section.model_fields if section else ())}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message} (got {fault['input']!r})"
