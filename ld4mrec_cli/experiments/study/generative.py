"""`study generative`: LD4MRec beside generative models of rows, in accuracy, cost and stability."""

from __future__ import annotations

from ld4mrec_cli.experiments.compare.systems import System
from ld4mrec_cli.experiments.study.plan import Reading, Variant
from ld4mrec_cli.experiments.study.request import Request
from ld4mrec_cli.models.diffrec_settings import DiffRecConfig

ONE_STEP = "one-step"
"""Reading of DiffRec in one reverse step of the same weights."""


def plan_generative(request: Request) -> list[Variant]:
    """Every system, timed; DiffRec with all its steps and with one."""
    variants = []
    for system in request.systems:
        readings = [Reading(is_timed=True)]
        if inference_steps(system) > 1:
            overrides = {"diffrec.inference_steps": 1}
            readings.append(Reading(ONE_STEP, overrides, is_timed=True))
        variants.append(Variant(system, system.label, readings=tuple(readings)))
    return variants


def inference_steps(system: System) -> int:
    """Reverse steps of DiffRec at inference; 1 for other models."""
    settings = system.config.model_settings
    if not isinstance(settings, DiffRecConfig):
        return 1
    return settings.inference_steps or settings.steps
