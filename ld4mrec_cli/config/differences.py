"""What differs between two configurations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, get_args

from ld4mrec_cli.config.types import ModelName

OF_ONE_MODEL = {"model": "ld4mrec", "diffusion": "ld4mrec"} | {name: name for name in get_args(ModelName)}
"""Sections that only one model reads."""


class Difference(NamedTuple):
    """A setting that has another value."""

    key: str
    """``section.name``, or the name alone at the top level."""
    was: Any
    now: Any


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], kept: Collection[str] = ()
) -> Iterator[Difference]:
    """Settings that differ between two configurations dumped to plain values, in the order of the second.

    ``kept`` names sections and settings that may differ; so may the sections of models that neither configuration
    trains. A setting that one of them lacks counts as None.
    """
    old, new = _settings(before), _settings(after)
    trained = {old.get("model_name"), new.get("model_name")}
    unread = {section for section, model in OF_ONE_MODEL.items() if model not in trained}
    for key in dict.fromkeys((*new, *old)):
        if old.get(key) != new.get(key) and not {key, key.split(".", maxsplit=1)[0]} & {*kept, *unread}:
            yield Difference(key, old.get(key), new.get(key))


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by key."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat
