"""What is chosen on validation after the training: how the finished model scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.row_values import RowValues, to_matrix
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.data.trend import candidate_half_lives, measure_trend
from ld4mrec_cli.evaluation.validation import SplitValidator, balance_with_recall
from ld4mrec_cli.models.base import Recommender, TrainableRecommender
from ld4mrec_cli.models.ld4mrec.mixture import TREND
from ld4mrec_cli.runs.learned import training_splits
from ld4mrec_cli.runs.manifest import Manifest
from ld4mrec_cli.settings.base import HalfLife
from ld4mrec_cli.training.climb import climb

HISTORY_HALF_LIVES = tuple(2.0**n for n in range(9))
"""Half-lives of a history that are tried, in items."""
FIRST_HALF_LIFE = HISTORY_HALF_LIVES.index(8.0)
FOLLOWED_USERS = 2_000
"""Users that the weights of a mixture are chosen on at each validation of the training, where there
are too many for all."""


@dataclass(frozen=True)
class Choices:
    """How a trained model scores; of a refit, as the run that it came from."""

    mixture: dict[str, float] = field(default_factory=dict)
    """Weights of the parts of a mixture by name."""
    history_half_life: float | None = None
    """See :class:`ld4mrec_cli.runs.manifest.DatasetInfo`."""
    trend_half_life: float | None = None
    """See :class:`ld4mrec_cli.runs.manifest.Manifest`."""
    valid: dict[str, float] | None = None
    """Metrics on validation with these choices; None: nothing was chosen."""


class MixtureValidator:
    """Validates each epoch with the weights of the mixture that suit it.

    C-Net grows during the training, and so does its best share. With weights that are chosen at
    the end alone, another epoch would be taken for the best.
    """

    def __init__(self, validator: SplitValidator, metric: str, seed: int) -> None:
        """``metric``: of the training; where users are very many, ``seed`` draws a sample."""
        self._validator = validator
        self._followed = validator
        """Chooses the weights."""
        if not validator.keeps_parts:
            self._followed = validator.draw_users(FOLLOWED_USERS, seed)
        self._metric = metric
        self.alone: float | None = None
        """Value of C-Net by itself in the last validation; None where no weights are chosen.

        The mixture starts from the value of its other parts. So it may take long until C-Net, which
        gets better all the time, adds to them.
        """

    def __call__(self, model: TrainableRecommender) -> dict[str, float]:
        """Choose the weights, which the model keeps, and return the metrics on validation."""
        self.alone = None
        if not model.fitted_parts:
            return self._validator(model)
        measure = self._followed.repeat(model)
        model.fit_scales(lambda: balance_with_recall(measure(), self._metric))
        is_all = self._followed is self._validator
        metrics = measure() if is_all else self._validator(model)
        scales = model.scales
        model.set_scales(dict.fromkeys(scales, 0.0))
        self.alone = balance_with_recall(measure(), self._metric)
        model.set_scales(scales)
        return metrics


class Chooser:
    """Chooses one thing after the other on validation, each with those that are chosen already."""

    def __init__(
        self, config: Config, dataset: Dataset, values: RowValues, validate: SplitValidator
    ):
        """``values``: of the rows that the model was trained on."""
        self._config = config
        self._dataset = dataset
        self._values = values
        self._validate = validate
        self._rows: csr_matrix | None = None
        """Histories as they are chosen; None: as in the training."""
        self._measured: list[dict[str, float]] = []

    def choose_history_half_life(self, model: Recommender) -> float | None:
        """The half-life of histories; None: old and new items count the same."""
        setting = self._config.data.history_half_life
        if not self._fades:
            return None
        if self._is_chosen(setting):
            plain = self._measure(model)
            found, value = climb(
                HISTORY_HALF_LIVES,
                FIRST_HALF_LIFE,
                lambda half_life: self._measure(model, self._read_rows(half_life)),
            )
            chosen = found if value > plain else None
        else:
            chosen = _read_given(setting)
        self._rows = None if chosen is None else self._read_rows(chosen)
        return chosen

    def choose_trend(self, model: TrainableRecommender) -> tuple[float | None, np.ndarray | None]:
        """The half-life of the trend, and the trend that the model has then; None: no trend."""
        setting = self._config.model.trend_half_life
        if self._config.model_name != "ld4mrec" or not model.takes_trend:
            return None, None
        chosen = self._choose_trend(model) if self._is_chosen(setting) else _read_given(setting)
        trend = None if chosen is None else self._read_trend(chosen)
        model.set_trend(trend)
        return chosen, trend

    def _choose_trend(self, model: TrainableRecommender) -> float | None:
        best, best_value = None, self._measure(model)
        for half_life in candidate_half_lives(self._train):
            model.set_trend(self._read_trend(half_life))
            value = self._measure(model)
            if value > best_value:
                best, best_value = half_life, value
        return best

    def choose_all(self, model: TrainableRecommender) -> tuple[Choices, np.ndarray | None]:
        """All choices for a trained model, which has them then, and its trend."""
        history = self.choose_history_half_life(model)
        trend_half_life, trend = self.choose_trend(model)
        mixture = self.choose_mixture(model)
        valid = self.valid
        if valid is None and (history or trend_half_life):
            valid = self.validate(model)
        return Choices(mixture, history, trend_half_life, valid), trend

    def choose_mixture(self, model: TrainableRecommender) -> dict[str, float]:
        """The weights of the parts of a mixture."""
        measure = self._validate.repeat(model, self._rows)
        return model.fit_scales(lambda: self._note(measure()))

    @property
    def reads_times(self) -> bool:
        """Whether times may decide how the model scores."""
        return self._fades and self._dataset.is_split_in_time

    @property
    def _fades(self) -> bool:
        """Whether a half-life acts on the model."""
        return self._config.spec.fades_histories

    @property
    def valid(self) -> dict[str, float] | None:
        """Metrics of the best of all that was measured; None: nothing was."""
        return max(self._measured, key=self._value_of) if self._measured else None

    def validate(self, model: Recommender) -> dict[str, float]:
        """Metrics with what is chosen."""
        self._measure(model)
        return self._measured[-1]

    def _is_chosen(self, setting: HalfLife) -> bool:
        return setting == "auto" and self._dataset.is_split_in_time

    def _read_rows(self, half_life: float) -> csr_matrix:
        values = RowValues(self._values.mean_weight, half_life)
        return to_matrix([self._train], self._dataset.shape, values)

    def _read_trend(self, half_life: float) -> np.ndarray:
        return measure_trend(self._train, self._dataset.shape[1], half_life)

    @cached_property
    def _train(self) -> pl.DataFrame:
        """The training interactions, read once for all half-lives."""
        return self._dataset.interactions(Split.TRAIN)

    def _measure(self, model: Recommender, rows: csr_matrix | None = None) -> float:
        return self._note(self._validate(model, self._rows if rows is None else rows))

    def _note(self, metrics: dict[str, float]) -> float:
        self._measured.append(metrics)
        return self._value_of(metrics)

    def _value_of(self, metrics: dict[str, float]) -> float:
        return balance_with_recall(metrics, self._config.training.metric)


def keep_choices(
    manifest: Manifest,
    dataset: Dataset,
    model: TrainableRecommender,
    on_note: Callable[[str], None],
) -> tuple[Choices, np.ndarray | None]:
    """Choices for a refit: those of the run that it came from, and its trend, measured anew."""
    half_life, parts, trend = manifest.trend_half_life, model.fitted_parts, None
    if half_life is not None and not dataset.has_times:
        on_note("the data has no times, so scores are not corrected for what is popular now")
        half_life = None
    if half_life is not None:
        tables = [dataset.interactions(split) for split in training_splits(manifest)]
        interactions = pl.concat(tables, how="vertical_relaxed")
        trend = measure_trend(interactions, dataset.shape[1], half_life)
        model.set_trend(trend)
        parts = (*parts, TREND)
    mixture = {part: manifest.mixture[part] for part in parts if part in manifest.mixture}
    return Choices(mixture, keep_half_life(manifest, dataset, on_note), half_life), trend


def keep_half_life(
    manifest: Manifest, dataset: Dataset, on_note: Callable[[str], None]
) -> float | None:
    """The half-life of histories of a refit, as of the run that it came from."""
    half_life = manifest.dataset.history_half_life
    if half_life is not None and not dataset.has_times:
        on_note("the data has no times, so old and new items of a history count the same")
        return None
    return half_life


def _read_given(setting: HalfLife) -> float | None:
    """The half-life that a setting gives."""
    return None if isinstance(setting, str) else setting
