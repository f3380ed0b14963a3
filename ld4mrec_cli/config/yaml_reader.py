"""YAML from users: plain values only, no key twice, in bounded time and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import yaml

from ld4mrec_cli.utils.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_ALIASES = 100


def read_yaml(path: Path, what: str = "configuration", of: str = "sections") -> dict[str, Any]:
    """Read a YAML mapping; an empty file is an empty mapping.

    Args:
        path: the file.
        what: name of such a file in messages.
        of: name of the entries of the mapping in messages.

    Raises:
        ConfigError: the file cannot be read, is no YAML mapping, or is too large or nested.
    """
    try:
        values = parse_yaml(_read_text(path, what))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "malformed"
        line = mark.line + 1 if mark else None
        raise ConfigError(f"not valid YAML: {problem}", where=path, line=line) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"a {what} is a mapping of {of}", where=path)
    return values


def parse_yaml(text: str) -> Any:
    """Parse a YAML document into plain values. Raises yaml.YAMLError."""
    try:
        return _StrictLoader(text).get_single_data()
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="nested too deeply") from None
    except Exception as error:
        # PyYAML raises nearly anything for a value that does not fit its tag: `!!int ""`, a
        # date that does not exist
        raise yaml.MarkedYAMLError(problem=f"malformed value ({error})") from None


def _read_text(path: Path, what: str) -> str:
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"is larger than {MAX_BYTES:,} bytes", where=path)
        return content.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no such {what} file", where=path) from None
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a NUL
        raise ConfigError(f"cannot be read ({error})", where=path) from None


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses repeated keys and alias bombs.

    Plain YAML silently keeps the last of repeated keys. An alias inside an anchored value would
    multiply with the aliases of that value, so it is refused, and so are many aliases.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._n_aliases = 0
        self._open_anchors = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self._n_aliases += 1
            if self._open_anchors:
                self._refuse("an alias inside an anchored value", event)
            if self._n_aliases > MAX_ALIASES:
                self._refuse(f"more than {MAX_ALIASES} aliases", event)
        is_anchored = getattr(event, "anchor", None) is not None
        self._open_anchors += is_anchored
        node = super().compose_node(parent, index)
        self._open_anchors -= is_anchored
        return node

    def _refuse(self, problem: str, event: Any) -> NoReturn:
        raise yaml.composer.ComposerError(problem=problem, problem_mark=event.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in keys:
                problem = f"'{key}' is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep)
