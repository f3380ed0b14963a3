"""The table of studies. A study is a declaration: what is trained, and how it is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ld4mrec_cli.experiments.study.ablation import plan_ablation, report_ablation
from ld4mrec_cli.experiments.study.cold_report import report_cold_start
from ld4mrec_cli.experiments.study.cold_start import plan_cold_start
from ld4mrec_cli.experiments.study.generative import plan_generative
from ld4mrec_cli.experiments.study.generative_report import report_generative
from ld4mrec_cli.experiments.study.inference import plan_inference, report_inference
from ld4mrec_cli.experiments.study.modalities import plan_modalities, report_modalities
from ld4mrec_cli.experiments.study.noise import plan_noise
from ld4mrec_cli.experiments.study.noise_report import report_noise
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.plan import Variant
from ld4mrec_cli.experiments.study.report import Report
from ld4mrec_cli.experiments.study.request import Request
from ld4mrec_cli.models.specs import MODELS

READING_FEATURES = tuple(spec.name for spec in MODELS.values() if spec.reads_features)


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
        Study(
            "cold-start",
            plan_cold_start,
            report_cold_start,
            models=("ld4mrec", "ease", "vbpr", "freedom", "popularity"),
        ),
        Study(
            "generative",
            plan_generative,
            report_generative,
            models=("ld4mrec", "multvae", "diffrec", "cfgan"),
        ),
        Study("inference", plan_inference, report_inference),
        Study("modalities", plan_modalities, report_modalities, models=READING_FEATURES),
        Study(
            "noise",
            plan_noise,
            report_noise,
            models=("ld4mrec", "ials", "lightgcn", "freedom"),
            options=frozenset({"levels", "types"}),
        ),
    )
}
