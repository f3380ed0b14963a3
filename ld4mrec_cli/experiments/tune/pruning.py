"""Which trials are not worth finishing: those behind the median of the complete ones at the same epoch.

The rule is median stopping (Golovin et al., KDD 2017, section 3.2.2). It depends on the validations alone, so that a
search that was cut short prunes what it would have pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

COMPLETE_TRIALS = 5
"""Complete trials before any is pruned: fewer have no median to speak of."""
JUDGES = 3
"""Of these, as many must have come to an epoch to judge there: most stop early."""
WARM_UP = 10
"""Epochs that every trial may have: small steps start slowly and may end well."""

Curve = Mapping[int, float]
"""Validation value by epoch."""
IsBehind = Callable[[Curve], bool]
"""Whether a trial with such a curve so far is not worth finishing."""


def never(curve: Curve) -> bool:
    """The rule of a search that prunes nothing."""
    return False


def median_pruning_rule(complete: Sequence[Curve]) -> IsBehind:
    """The rule for a trial after the ``complete`` ones: its best value against the median of theirs at its epoch."""
    known = [curve for curve in complete if curve]

    def is_behind(curve: Curve) -> bool:
        epoch = max(curve, default=0)
        there = [other[epoch] for other in known if epoch in other]
        if len(known) < COMPLETE_TRIALS or len(there) < JUDGES or epoch <= WARM_UP:
            return False
        return max(curve.values()) < median(there)

    return is_behind
