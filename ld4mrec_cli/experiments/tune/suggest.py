"""What to try next: tree-structured Parzen estimation (Bergstra et al. 2011) over the trials so far.

A proposal depends on the space, the trials before it and the seed alone: the sampler is made anew for each,
so that a search that was cut short proposes what it would have proposed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from ld4mrec_cli.experiments.tune.space import Categorical, Range, Space

RANDOM_TRIALS = 10
"""Trials with a result before the estimator takes over from chance."""
MODELLED, TRIES = 20, 500
"""Proposals that the estimator may repeat before chance proposes, and after how many repetitions all is tried."""
DIGITS, STEPPED_DIGITS = 4, 12
"""Significant digits of proposed numbers: a config is for people to read."""


def suggest(
    space: Space, tried: Sequence[Mapping[str, Any]], results: Sequence[float | None], seed: int
) -> dict[str, Any] | None:
    """Propose values for the next trial, by config key; None where every combination was tried.

    Args:
        tried: values of the trials so far.
        results: value of each, higher is better; None where a trial gave none.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seen = {json.dumps(values, sort_keys=True) for values in tried}
    distributions = {key: _distribution(parameter) for key, parameter in space.parameters.items()}
    for attempt in range(TRIES):
        entropy = np.random.SeedSequence((seed, len(tried), attempt)).generate_state(1)
        study = optuna.create_study(
            direction="maximize", sampler=_sampler(attempt, int(entropy[0]))
        )
        study.add_trials(_known_trials(space, distributions, tried, results))
        drawn = study.ask(distributions).params
        values = {
            key: _readable(parameter, drawn[key]) for key, parameter in space.parameters.items()
        }
        if json.dumps(values, sort_keys=True) not in seen:
            return values
    return None


def _sampler(attempt: int, seed: int) -> BaseSampler:
    if attempt < MODELLED:
        return TPESampler(
            seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=False, constant_liar=False
        )
    return RandomSampler(seed=seed)


def _known_trials(
    space: Space,
    distributions: dict[str, BaseDistribution],
    tried: Sequence[Mapping[str, Any]],
    results: Sequence[float | None],
) -> list[optuna.trial.FrozenTrial]:
    """Trials with a result inside the space; the base configuration may lie outside."""
    known = []
    for values, result in zip(tried, results, strict=True):
        if result is not None and space.contains(values):
            plain = {
                key: parameter.position(values[key])
                if isinstance(parameter, Categorical)
                else values[key]
                for key, parameter in space.parameters.items()
            }
            known.append(
                optuna.trial.create_trial(params=plain, distributions=distributions, value=result)
            )
    return known


def _distribution(parameter: Range | Categorical) -> BaseDistribution:
    """Categorical are searched by their index, so that they can be of any kind, lists too."""
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
    """The highest value that steps from ``low`` meet, in decimal arithmetic: 0.2 + 6 · 0.1 is 0.8."""
    if parameter.step is None:
        return parameter.high
    low, high, step = (
        Decimal(str(number)) for number in (parameter.low, parameter.high, parameter.step)
    )
    return float(high - (high - low) % step)


def _readable(parameter: Range | Categorical, drawn: Any) -> Any:
    """A drawn value as it stands in a config."""
    if isinstance(parameter, Categorical):
        return parameter.values[drawn]
    if parameter.whole:
        return int(drawn)
    digits = STEPPED_DIGITS if parameter.step else DIGITS
    return min(max(float(f"{drawn:.{digits}g}"), parameter.low), parameter.high)
