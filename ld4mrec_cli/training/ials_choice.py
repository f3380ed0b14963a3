"""How the settings of iALS are chosen on validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.validation import SplitValidator, balance_with_recall
from ld4mrec_cli.models.ials import IALS
from ld4mrec_cli.models.ials_settings import IALSChoice, IALSConfig
from ld4mrec_cli.settings.base import AUTO
from ld4mrec_cli.training.climb import climb
from ld4mrec_cli.training.ease_choice import pays
from ld4mrec_cli.utils.errors import UserError

FACTORS = tuple(2.0**n for n in range(-6, 7))
"""Of a ridge or a weight of unobserved cells, from where it starts."""
EXPONENTS = (0.5, 1.0)
"""Frequency exponents that are tried."""
CHOICE_INTERACTIONS = 1_000_000
"""Most interactions that a choice fits; of more, those of a sample of the users."""
HOPELESS = 0.9
"""Share of what is to be passed below which a first fit ends the search. Of four datasets, a
first fit had at most .89 of what EASE has where iALS stays below it, and 1.09 where it does not."""

Value = Callable[[IALSChoice], float]
"""Value of iALS with such settings on validation, higher is better."""


class IALSValue:
    """The :data:`Value` of settings; each is computed once."""

    def __init__(
        self,
        settings: IALSConfig,
        train: csr_matrix,
        validator: SplitValidator,
        metric: str,
        seed: int,
    ) -> None:
        """``seed`` draws users, where there are too many interactions, and the first vectors."""
        self._settings = settings
        self._train = _draw_rows(train, CHOICE_INTERACTIONS, seed)
        self._validator = validator
        self._metric = metric
        self._seed = seed
        self._values: dict[IALSChoice, float] = {}

    def __call__(self, choice: IALSChoice) -> float:
        """See :data:`Value`; 0 where the ridge is too small for float32."""
        if choice not in self._values:
            self._values[choice] = self._measure(choice)
        return self._values[choice]

    def _measure(self, choice: IALSChoice) -> float:
        try:
            model = IALS.fit(self._train, self._settings.with_choice(choice), {}, self._seed)
            return balance_with_recall(self._validator(model), self._metric)
        except UserError:  # the ridge is too small for float32, or scores are not finite
            return 0.0

    @property
    def mean_frequency(self) -> float:
        """That of the part, see :func:`measure_frequency`."""
        return measure_frequency(self._train, self._settings.choice.unobserved_weight)


def measure_frequency(train: csr_matrix, unobserved_weight: float) -> float:
    """Mean over users of what the ridge is multiplied by with the exponent 1."""
    n_users, n_items = train.shape
    return float(train.sum()) / max(n_users, 1) + unobserved_weight * n_items


def carry_over(choice: IALSChoice, part: csr_matrix, whole: csr_matrix) -> IALSChoice:
    """A choice made on a ``part`` of the items, for the ``whole`` ``(n_users, n_items)``.

    The ridge of a mean user, which grows with the number of items, stays as it was.
    """
    before, after = (measure_frequency(one, choice.unobserved_weight) for one in (part, whole))
    factor = (before / after) ** choice.frequency_exponent
    return replace(choice, regularization=choice.regularization * factor)


def search_ials(
    settings: IALSConfig, value: Value, frequency: float, least: float = 0.0
) -> IALSChoice | None:
    """The best settings of those that are ``auto``.

    Args:
        settings: of which the others stay as they are.
        value: of settings.
        frequency: of :attr:`IALSValue.mean_frequency`.
        least: value that is to be passed.

    Returns:
        None where iALS is not better than ``least``, or the first fits are far below it.
    """
    starts = list(_iter_starts(settings, frequency))
    if max(map(value, starts)) < HOPELESS * least:
        return None
    best = max((_climb(settings, start, value) for start in starts), key=value)
    return best if pays(value(best), least) else None


def _iter_starts(settings: IALSConfig, frequency: float) -> Iterator[IALSChoice]:
    """Where the search starts: with each exponent, the ridge of a mean user being the same."""
    start = settings.choice
    if settings.frequency_exponent != AUTO:
        yield start
        return
    for exponent in EXPONENTS:
        ridge = start.regularization
        if settings.regularization == AUTO:
            ridge *= frequency ** (start.frequency_exponent - exponent)
        yield replace(start, regularization=ridge, frequency_exponent=exponent)


def _climb(settings: IALSConfig, start: IALSChoice, value: Value) -> IALSChoice:
    """One setting after the other: the ridge, the weight of unobserved cells, the ridge again."""
    best = start
    for name in ("regularization", "unobserved_weight", "regularization"):
        if getattr(settings, name) == AUTO:
            best = _climb_one(best, name, value)
    return best


def _climb_one(start: IALSChoice, name: str, value: Value) -> IALSChoice:
    def scaled(factor: float) -> IALSChoice:
        return replace(start, **{name: factor * getattr(start, name)})

    factor, _ = climb(FACTORS, FACTORS.index(1.0), lambda one: value(scaled(one)), pays)
    return scaled(factor)


def _draw_rows(train: csr_matrix, n_interactions: int, seed: int) -> csr_matrix:
    """``train`` of a random part of its users, with about so many interactions at most."""
    share = n_interactions / max(train.nnz, 1)
    if share >= 1.0:
        return train
    is_drawn = np.random.default_rng(seed).random(train.shape[0]) < share
    return csr_matrix(train[is_drawn])
