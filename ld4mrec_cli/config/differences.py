"""What differs between two configurations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple


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

    ``kept`` names sections and settings that may differ. A setting that one of them lacks counts as None.
    """
    old, new = _settings(before), _settings(after)
    for key in dict.fromkeys((*new, *old)):
        if old.get(key) != new.get(key) and not {key, key.split(".", maxsplit=1)[0]} & set(kept):
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
