"""The report of a study, before it is written as a page, Markdown, JSON and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ld4mrec_cli.utils.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INITIALS = ("ndcg", "mrr", "map")
WIDTH = 4.6
"""Inches of a picture: on a phone it is shrunk little."""


@dataclass(frozen=True)
class Picture:
    """A picture that is drawn when it is written."""

    draw: Callable[[Figure], None]
    height: float
    """Inches."""
    alt: str
    """What it shows, for those who cannot see it."""
    caption: str


@dataclass(frozen=True)
class ReportTable:
    """A table and what its columns mean."""

    heading: str
    table: Table
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The answer first, then what it rests on."""

    title: str
    question: str
    answer: str
    """One sentence."""
    findings: Sequence[str] = ()
    """Further sentences."""
    pictures: Sequence[Picture] = ()
    tables: Sequence[ReportTable] = ()
    method: Sequence[str] = ()
    """What this study did, besides what all do."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the study itself for JSON."""


def name_metric(metric: str) -> str:
    """As papers write it: ``NDCG@20``."""
    name, _, cutoff = metric.partition("@")
    return f"{name.upper() if name in INITIALS else name.capitalize()}@{cutoff}"


def join_names(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}"
