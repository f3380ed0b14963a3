"""The Markdown reference of the configuration, from the docstrings of its fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from ld4mrec_cli.config.load import model_text, preset_text
from ld4mrec_cli.config.schema import Config, iter_sections
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.settings.base import Section


def config_reference() -> str:
    """Return the Markdown reference of every setting."""
    lines = [
        "# Configuration reference",
        "",
        "Written by `ld4mrec config --reference` from the settings classes; do not edit.",
        "",
        "Any value can be set in the YAML file or with `--set section.key=value`.",
        "",
        "## top level",
        "",
    ]
    lines += _table(Config)
    for name, section in iter_sections():
        lines += ["", f"## {name}", "", f"{section.__doc__}", ""]
        lines += _table(section)
    lines += [
        "",
        "## preset `paper`",
        "",
        "The settings that differ from the defaults above.",
        "",
        "```yaml",
    ]
    lines += [preset_text("paper").strip(), "```"]
    lines += [
        "",
        "## published settings of the baselines",
        "",
        "The defaults for each `model_name`; your own values go first.",
        "",
    ]
    lines += ["```yaml", *_model_presets(), "```", ""]
    return "\n".join(lines)


def _model_presets() -> Iterator[str]:
    for model in MODELS:
        text = model_text(model)
        if text:
            yield f"# {model}"
            yield text.strip()


def _table(section: type[Section]) -> list[str]:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    names = {name for name, _ in iter_sections()}
    for name, field in section.model_fields.items():
        if section is Config and name in names:
            continue
        default = field.get_default(call_default_factory=True)
        shown = (
            "unset" if default is None else yaml.safe_dump(_plain(default), default_flow_style=True)
        )
        shown = shown.removesuffix("...\n").strip()
        meaning = (field.description or "").replace("|", "\\|").replace("\n", " ")
        rows.append(f"| `{name}` | {_type_name(field.annotation)} | `{shown}` | {meaning} |")
    return rows


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _type_name(annotation: Any) -> str:
    """Name a type as a user would: ``whole number or unset``, ``list of text``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple:
        return f"list of {_type_name(arguments[0])}"
    if origin in (Union, UnionType):
        return " or ".join(_type_name(argument) for argument in arguments)
    return _PLAIN_NAMES.get(origin or annotation, str(annotation))


_PLAIN_NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    Path: "path",
    dict: "mapping",
    type(None): "unset",
}
