"""A table of text cells, for the terminal, for Markdown and for pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Column names and rows of text cells; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str | None = None

    def markdown(self) -> str:
        """The table in Markdown without its title; all columns but the first are right-aligned."""
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        return "\n".join(
            "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"
            for row in [self.columns, rule, *self.rows]
        )
