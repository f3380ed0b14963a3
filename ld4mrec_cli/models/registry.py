"""From the name of a model to its class; what the two kinds of baselines offer."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.base import TrainableRecommender
from ld4mrec_cli.models.ops.ridge import check_closed_form
from ld4mrec_cli.models.pairwise import FactorModel, PairwiseRecommender
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.utils.errors import ConfigError


class ClosedFormRecommender(Protocol):
    """A recommender that is fitted at once."""

    @classmethod
    def fit(
        cls, train: csr_matrix, settings: Any, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Fit to training interactions ``(n_users, n_items)``.

        ``settings`` is the model's own section; ``features``: modality → ``(n_items, dim)``.
        """
        ...

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], settings: Any) -> Self:
        """Restore from :meth:`arrays`."""
        ...

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_items)`` float32 for rows ``(n, n_items)``."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays that a run saves to score again."""
        ...


class TrainedBaseline(Protocol):
    """A baseline that the trainer trains."""

    @classmethod
    def build(
        cls, train: csr_matrix, settings: Any, features: Mapping[str, np.ndarray], seed: int
    ) -> TrainableRecommender:
        """Make an untrained model; arguments as of :meth:`ClosedFormRecommender.fit`."""
        ...


def load_class(name: str) -> type[Any]:
    """Class of the model ``name``."""
    module, _, class_name = MODELS[name].import_path.partition(":")
    loaded: type[Any] = getattr(importlib.import_module(f"ld4mrec_cli.models.{module}"), class_name)
    return loaded


def fit_closed_form(
    name: str,
    train: csr_matrix,
    settings: Any,
    features: Mapping[str, np.ndarray],
    seed: int,
) -> ClosedFormRecommender:
    """Fit a closed-form model by name."""
    fitted: ClosedFormRecommender = load_class(name).fit(train, settings, features, seed)
    return fitted


def build_baseline(
    name: str,
    train: csr_matrix,
    settings: Any,
    features: Mapping[str, np.ndarray],
    seed: int,
) -> TrainableRecommender:
    """Make an untrained baseline by name."""
    built: TrainableRecommender = load_class(name).build(train, settings, features, seed)
    return built


def check_trainable(name: str, n_items: int, modalities: Sequence[str]) -> None:
    """Refuse what a model cannot do, before anything is computed.

    Raises:
        UserError: the dense item-item matrix of ``ease`` does not fit into memory.
        ConfigError: the model needs item features and there are none.
    """
    if name == "ease":
        check_closed_form(n_items)
    if MODELS[name].needs_features and not modalities:
        hint = "Use bpr, or add features to the raw data; check data.modalities"
        raise ConfigError(f"{name} needs item features and there are none", hint=hint)


def is_pairwise(name: str) -> bool:
    """Whether a run of this model saves user and item factors."""
    return issubclass(load_class(name), PairwiseRecommender)


def restore_baseline(
    name: str,
    tensors: Mapping[str, Tensor],
    settings: Any,
    device: torch.device,
) -> ClosedFormRecommender | FactorModel:
    """A baseline that scores from saved arrays or factors. Raises KeyError for a missing array.

    Closed-form models compute on the CPU whatever the device; factors are moved to it.
    """
    if MODELS[name].closed_form:
        arrays = {key: tensor.cpu().numpy() for key, tensor in tensors.items()}
        restored: ClosedFormRecommender = load_class(name).from_arrays(arrays, settings)
        return restored
    return FactorModel({key: tensor.to(device) for key, tensor in tensors.items()})
