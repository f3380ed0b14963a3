"""The table of studies. A study is a declaration: what is trained, and how it is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ld4mrec_cli.experiments.study.ablation import plan_ablation, report_ablation
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.plan import Variant
from ld4mrec_cli.experiments.study.report import Report
from ld4mrec_cli.experiments.study.request import Request


@dataclass(frozen=True)
class Study:
    """A question that `ld4mrec study` answers."""

    name: str
    plan: Callable[[Request], list[Variant]]
    """Lists the variants. Raises UserError where there is nothing to study."""
    report: Callable[[Outcome], Report]
    models: tuple[str, ...] = ("ld4mrec",)
    """Models that are studied where none is named."""
    options: frozenset[str] = frozenset()
    """Options that only some studies take."""


STUDIES = {
    one.name: one
    for one in (
        Study("ablation", plan_ablation, report_ablation, options=frozenset({"vary", "cross"})),
    )
}
