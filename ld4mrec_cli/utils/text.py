"""Text that came with the data, made fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Replace characters that would steer a terminal or break a line, since names, ids and titles are data."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
