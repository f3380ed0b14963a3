"""Which trials are not worth finishing: those behind the median of the complete ones at the same epoch.

The rule is that of Golovin et al. (KDD 2017, section 3.2.2), as optuna has it. It depends on the validations alone, so
that a search that was cut short prunes what it would have pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import optuna

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


def behind_median(complete: Sequence[Curve]) -> IsBehind:
    """The rule for a trial after the ``complete`` ones: its best value against the median of theirs at its epoch."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(COMPLETE_TRIALS, n_warmup_steps=WARM_UP + 1, n_min_trials=JUDGES)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.add_trials([_known(curve) for curve in complete if curve])

    def is_behind(curve: Curve) -> bool:
        trial = study.ask()
        for epoch, value in curve.items():
            trial.report(value, epoch)
        behind = bool(trial.should_prune())
        study.tell(trial, state=optuna.trial.TrialState.FAIL)  # asked about, not part of the study
        return behind

    return is_behind


def _known(curve: Curve) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(value=max(curve.values()), intermediate_values=dict(curve))
