"""Text from data, made safe for a terminal: ids, titles and paths may hold any character."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import Any, TextIO

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Invisible characters that emoji and several scripts are spelled with; they steer nothing."""


def is_safe(character: str) -> bool:
    """Whether a terminal shows a character and does not obey it.

    Unsafe are control characters (C0, DEL, C1), bidirectional controls, other invisible format
    characters, line separators, surrogates and unassigned code points.
    """
    return (
        character.isprintable()
        or character in JOINERS
        or unicodedata.category(character) == "Zs"  # spaces such as the ideographic one
    )


def printable(text: str, keep: str = "") -> str:
    """Replace characters that would steer a terminal or break a line.

    Args:
        text: text that came with the data.
        keep: characters that stay although they are unsafe, such as a newline.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or is_safe(c) else REPLACEMENT for c in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, such as a report: newlines and tabs stay."""
    return printable(text, keep="\n\t")


def to_json(value: Any) -> str:
    """``value`` as one line of JSON. Unsafe characters are escaped, so that no data is lost.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(c if is_safe(c) else _escape(c) for c in text)


def _escape(character: str) -> str:
    """A character as JSON escapes it: one UTF-16 unit, or two beyond U+FFFF."""
    return json.dumps(character, ensure_ascii=True)[1:-1]


def is_utf8(name: str) -> bool:
    """Whether a path or argument is text. Python holds other bytes as lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


class SafeStream:
    """A text stream that unsafe characters do not pass, whoever writes to it.

    Rich writes its own colors to :attr:`unguarded`.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        """Write ``text``; a carriage return stays, for progress bars of libraries."""
        return self.unguarded.write(printable(text, keep="\n\t\r"))

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)
