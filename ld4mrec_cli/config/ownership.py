"""Which model reads a setting, what may change on resume, and how two configurations differ.

All of it is metadata of the sections and fields themselves (:mod:`ld4mrec_cli.settings.base`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from ld4mrec_cli.config.schema import iter_sections
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.settings.base import (
    MAY_CHANGE_ON_RESUME,
    NOT_SEARCHED,
    ReadBy,
    Switch,
    SwitchEach,
)


@cache
def _owners() -> dict[str, str]:
    """Section, or setting as ``section.key`` → the one model that reads it."""
    owners = {section: spec.name for spec in MODELS.values() for section in spec.sections}
    for section, model in iter_sections():
        for name, field in model.model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, ReadBy):
                    owners[f"{section}.{name}"] = mark.model
    return owners


def owner(key: str) -> str | None:
    """The one model that reads the setting ``key``, None where several do."""
    return _owners().get(key, _owners().get(key.partition(".")[0]))


@cache
def resumable_keys() -> frozenset[str]:
    """Sections and settings that may differ when a run is resumed."""
    keys = {name for name, section in iter_sections() if section.may_change_on_resume}
    for section, model in iter_sections():
        for name, field in model.model_fields.items():
            if MAY_CHANGE_ON_RESUME in field.metadata:
                keys.add(f"{section}.{name}")
    return frozenset(keys)


def iter_searchable() -> Iterator[tuple[str, Any]]:
    """Key and type of every setting that a search space may name."""
    for section, model in iter_sections():
        for name, field in model.model_fields.items() if model.searched else ():
            if NOT_SEARCHED not in field.metadata:
                yield f"{section}.{name}", field.annotation


def iter_switches(model_name: str) -> Iterator[tuple[str, Switch | SwitchEach]]:
    """Key and mark of every setting that switches a part of a model off."""
    for section, model in iter_sections():
        for name, field in model.model_fields.items():
            key = f"{section}.{name}"
            for mark in field.metadata:
                if isinstance(mark, Switch | SwitchEach) and owner(key) in (None, model_name):
                    yield key, mark


class Difference(NamedTuple):
    """A setting that has another value."""

    key: str
    """``section.name``, or the name alone at the top level."""
    before: Any
    after: Any


def iter_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], ignored: Collection[str] = ()
) -> Iterator[Difference]:
    """Settings that differ between two dumped configurations, in the order of the second.

    ``ignored`` names sections and settings that may differ. A setting that only other models read
    may differ, too. A setting that one of the two lacks counts as None.
    """
    old, new = _flatten(before), _flatten(after)
    trained = {old.get("model_name"), new.get("model_name")}
    for key in dict.fromkeys((*new, *old)):
        is_read = owner(key) in (None, *trained)
        is_ignored = {key, key.partition(".")[0]} & set(ignored)
        if old.get(key) != new.get(key) and is_read and not is_ignored:
            yield Difference(key, old.get(key), new.get(key))


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by key."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat
