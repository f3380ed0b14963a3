"""Decisions of a search by optuna: the values of the next trial, and when to prune a trial.

Both depend on the space, the trials so far and the seed alone. The study is rebuilt for each
decision, so that a search that was killed decides as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import MedianPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from ld4mrec_cli.experiments.tune.space import Categorical, Range, Space

N_RANDOM_TRIALS = 10
"""Trials with a result before the estimator takes over from random values."""
N_MODEL_ATTEMPTS = 20
"""Attempts of the estimator to find new values; then random values are tried."""
MAX_ATTEMPTS = 500
"""Attempts after which all combinations count as tried."""
DIGITS, STEP_DIGITS = 4, 12
"""Significant digits of suggested numbers, so that people can read a config."""

MIN_COMPLETE_TRIALS = 5
"""Complete trials before any trial is pruned."""
MIN_TRIALS_AT_EPOCH = 3
"""Complete trials that must have reached an epoch for pruning there; most stop early."""
WARMUP_EPOCHS = 10
"""Epochs that every trial has: small learning rates start slowly and may end well."""

Curve = Mapping[int, float]
"""Validation value by epoch."""
IsBehind = Callable[[Curve], bool]
"""Whether a trial with such a curve so far should be pruned."""


def suggest(
    space: Space,
    tried: Sequence[Mapping[str, Any]],
    results: Sequence[float | None],
    seed: int,
    is_valid: Callable[[Mapping[str, Any]], bool] = lambda values: True,
) -> dict[str, Any] | None:
    """Suggest values for the next trial, by config key (TPE, Bergstra et al. 2011).

    Args:
        tried: values of the trials so far.
        results: validation value of each, higher is better; None without a result.
        is_valid: whether values fit together; others are never suggested.

    Returns:
        None if all combinations were tried.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seen = {json.dumps(values, sort_keys=True) for values in tried}
    distributions = {key: _distribution(parameter) for key, parameter in space.parameters.items()}
    for attempt in range(MAX_ATTEMPTS):
        entropy = np.random.SeedSequence((seed, len(tried), attempt)).generate_state(1)
        study = optuna.create_study(
            direction="maximize", sampler=_sampler(attempt, int(entropy[0]))
        )
        study.add_trials(_known_trials(space, distributions, tried, results))
        params = study.ask(distributions).params
        values = {
            key: _readable(parameter, params[key]) for key, parameter in space.parameters.items()
        }
        if json.dumps(values, sort_keys=True) not in seen and is_valid(values):
            return values
    return None


def _sampler(attempt: int, seed: int) -> BaseSampler:
    if attempt < N_MODEL_ATTEMPTS:
        return TPESampler(
            seed=seed, n_startup_trials=N_RANDOM_TRIALS, multivariate=False, constant_liar=False
        )
    return RandomSampler(seed=seed)


def _known_trials(
    space: Space,
    distributions: dict[str, BaseDistribution],
    tried: Sequence[Mapping[str, Any]],
    results: Sequence[float | None],
) -> list[optuna.trial.FrozenTrial]:
    """Trials with a result, as the sampler sees them.

    The base configuration may lie outside the space. It counts with the nearest number of a range,
    and for a categorical setting not at all.
    """
    trials = []
    for values, result in zip(tried, results, strict=True):
        if result is None:
            continue
        params = {
            key: _param(parameter, values[key]) for key, parameter in space.parameters.items()
        }
        known = {key: param for key, param in params.items() if param is not None}
        own = {key: distributions[key] for key in known}
        trials.append(create_trial(params=known, distributions=own, value=result))
    return trials


def _param(parameter: Range | Categorical, value: Any) -> float | int | None:
    """A value of a config as optuna's: the index of a choice, or a number of the range."""
    if isinstance(parameter, Categorical):
        return parameter.position(value)
    return parameter.nearest(value)


def _distribution(parameter: Range | Categorical) -> BaseDistribution:
    """Categorical values are searched by their index: they may be lists, which optuna refuses."""
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(range(len(parameter.values)))
    if parameter.whole:
        step = int(parameter.step or 1)
        low, high = int(parameter.low), int(parameter.high)
        return IntDistribution(low, high - (high - low) % step, log=parameter.log, step=step)
    return FloatDistribution(
        parameter.low, _last_step(parameter), log=parameter.log, step=parameter.step
    )


def _last_step(parameter: Range) -> float:
    """Highest value on the steps from ``low``, in decimal arithmetic: 0.2 + 6 · 0.1 is 0.8."""
    if parameter.step is None:
        return parameter.high
    low, high, step = (
        Decimal(str(number)) for number in (parameter.low, parameter.high, parameter.step)
    )
    return float(high - (high - low) % step)


def _readable(parameter: Range | Categorical, param: Any) -> Any:
    """Value of optuna as a readable value of a config."""
    if isinstance(parameter, Categorical):
        return parameter.values[param]
    if parameter.whole:
        return int(param)
    digits = STEP_DIGITS if parameter.step else DIGITS
    return min(max(float(f"{param:.{digits}g}"), parameter.low), parameter.high)


def never_prune(curve: Curve) -> bool:
    """The rule of a search without pruning."""
    return False


def median_pruning_rule(complete: Sequence[Curve]) -> IsBehind:
    """Prune a trial whose best value is below the median of the ``complete`` ones at its epoch.

    Median stopping (Golovin et al., KDD 2017, section 3.2.2).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = MedianPruner(
        n_startup_trials=MIN_COMPLETE_TRIALS,
        n_warmup_steps=WARMUP_EPOCHS + 1,
        n_min_trials=MIN_TRIALS_AT_EPOCH,
    )
    study = optuna.create_study(direction="maximize")
    for curve in complete:
        if curve:
            study.add_trial(
                create_trial(value=max(curve.values()), intermediate_values=dict(curve))
            )

    def is_behind(curve: Curve) -> bool:
        if not curve:
            return False
        trial = create_trial(state=TrialState.RUNNING, intermediate_values=dict(curve))
        return pruner.prune(study, trial)

    return is_behind
