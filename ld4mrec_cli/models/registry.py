"""From the name of a model to its class; baselines are built, fitted and restored by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.base import ClosedFormRecommender, TrainableRecommender
from ld4mrec_cli.models.pairwise import FactorModel, PairwiseRecommender
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.utils.errors import ConfigError


def load_class(name: str) -> type[Any]:
    """Class of the model ``name``."""
    module, _, class_name = MODELS[name].import_path.partition(":")
    model: type[Any] = getattr(importlib.import_module(f"ld4mrec_cli.models.{module}"), class_name)
    return model


def fit_closed_form(
    name: str,
    train: csr_matrix,
    settings: Any,
    features: Mapping[str, np.ndarray],
    seed: int,
) -> ClosedFormRecommender:
    """Fit a closed-form model; arguments as of :meth:`ClosedFormRecommender.fit`."""
    model: ClosedFormRecommender = load_class(name).fit(train, settings, features, seed)
    return model


def build_baseline(
    name: str,
    train: csr_matrix,
    settings: Any,
    features: Mapping[str, np.ndarray],
    seed: int,
) -> TrainableRecommender:
    """Make an untrained baseline; arguments as of :meth:`ClosedFormRecommender.fit`."""
    model: TrainableRecommender = load_class(name).build(train, settings, features, seed)
    return model


def check_trainable(
    name: str, n_items: int, modalities: Sequence[str], settings: Any = None
) -> None:
    """Check that a model can be trained on a dataset, before anything is computed.

    Raises:
        UserError: the catalog is too large for the model.
        ConfigError: the model needs item features and there are none.
    """
    load_class(name).check_catalog(n_items, settings)
    if MODELS[name].needs_features and not modalities:
        others = ", ".join(spec.name for spec in MODELS.values() if not spec.needs_features)
        hint = f"Add features to the raw data; check data.modalities. Or use one of {others}"
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
    """A baseline that scores from saved arrays or factors.

    Closed-form models compute on the CPU; factors are moved to ``device``.

    Raises:
        KeyError: an array is missing.
    """
    if MODELS[name].closed_form:
        arrays = {key: tensor.cpu().numpy() for key, tensor in tensors.items()}
        model: ClosedFormRecommender = load_class(name).from_arrays(arrays, settings)
        return model
    return FactorModel({key: tensor.to(device) for key, tensor in tensors.items()})
