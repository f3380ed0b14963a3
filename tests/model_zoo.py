"""The models by kind, made from a whole configuration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config
from ld4mrec_cli.models.base import ClosedFormRecommender, TrainableRecommender
from ld4mrec_cli.models.registry import build_baseline, fit_closed_form
from ld4mrec_cli.models.specs import MODELS

CLOSED_FORM = [name for name, spec in MODELS.items() if spec.closed_form]
TRAINED_BASELINES = [
    name for name, spec in MODELS.items() if not spec.closed_form and name != "ld4mrec"
]
DETERMINISTIC = [name for name, spec in MODELS.items() if spec.deterministic]


def settings_of(config: Config, name: str):
    return getattr(config, name, None)


def fit(
    name: str, train: csr_matrix, config: Config, features: Mapping[str, np.ndarray] | None = None
) -> ClosedFormRecommender:
    return fit_closed_form(
        name, train, settings_of(config, name), features or {}, config.training.seed
    )


def build(
    name: str, train: csr_matrix, config: Config, features: Mapping[str, np.ndarray] | None = None
) -> TrainableRecommender:
    return build_baseline(
        name, train, settings_of(config, name), features or {}, config.training.seed
    )
