"""What differs between two configurations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from ld4mrec_cli.config.readers import reader


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

    ``kept`` names sections and settings that may differ; so may what is read only by models that neither
    configuration trains. A setting that one of them lacks counts as None.
    """
    old, new = _settings(before), _settings(after)
    trained = {old.get("model_name"), new.get("model_name")}
    for key in dict.fromkeys((*new, *old)):
        is_read = reader(key) in (None, *trained)
        if old.get(key) != new.get(key) and is_read and not {key, key.split(".", maxsplit=1)[0]} & set(kept):
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
