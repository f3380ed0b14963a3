"""Section `evaluation`: the ranking protocol."""

from __future__ import annotations

from typing import ClassVar

from ld4mrec_cli.settings.base import Count, Cutoffs, Mask, Section


class EvaluationConfig(Section):
    """Ranking protocol of validation, `evaluate` and `recommend`."""

    may_change_on_resume: ClassVar[bool] = True
    searched: ClassVar[bool] = False

    k: Cutoffs = (5, 10, 20, 50)
    """Cutoffs of the metrics that `evaluate` reports."""
    mask: Mask = "train"
    """Items left out of a user's ranking at test time: `train`, or `train+valid`."""
    batch_size: Count = 1024
    """Users scored at a time."""
