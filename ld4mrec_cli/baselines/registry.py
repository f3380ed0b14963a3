"""The baselines by name, and what each kind of them offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.baselines.closed_form import check_closed_form
from ld4mrec_cli.baselines.diffrec import DiffRec
from ld4mrec_cli.baselines.factors import BPR, VBPR, FactorModel, PairwiseRecommender
from ld4mrec_cli.baselines.ials import IALS
from ld4mrec_cli.baselines.lightgcn import LightGCN
from ld4mrec_cli.baselines.linear import EASE, ItemKNN, Popularity
from ld4mrec_cli.baselines.multvae import MultVAE
from ld4mrec_cli.config import Config
from ld4mrec_cli.errors import ConfigError
from ld4mrec_cli.model.trainable import TrainableRecommender


class FittedBaseline(Protocol):
    """A recommender that is fitted in one go."""

    @classmethod
    def fit(cls, train: csr_matrix, config: Config) -> Self:
        """Fit to the training interactions ``(n_users, n_items)``."""
        ...

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], config: Config) -> Self:
        """Restore from :meth:`arrays`."""
        ...

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_items)`` float32 for rows ``(n, n_items)``."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be saved to score again."""
        ...


class TrainedBaseline(Protocol):
    """A recommender that the trainer trains."""

    @classmethod
    def build(cls, config: Config, train: csr_matrix, features: Mapping[str, np.ndarray]) -> TrainableRecommender:
        """Make it untrained; ``features``: modality → ``(n_items, dim)``."""
        ...


FITTED: dict[str, type[FittedBaseline]] = {
    "popularity": Popularity,
    "itemknn": ItemKNN,
    "ease": EASE,
    "ials": IALS,
}
TRAINED: dict[str, type[TrainedBaseline]] = {
    "bpr": BPR,
    "lightgcn": LightGCN,
    "vbpr": VBPR,
    "multvae": MultVAE,
    "diffrec": DiffRec,
}
USE_FEATURES = ("ld4mrec", "vbpr")
"""Models that read item features."""

WITHOUT_SEED = ("popularity", "itemknn", "ease")
"""Models that draw nothing at random: every seed gives the same."""


def check_baseline(name: str, n_items: int, modalities: Sequence[str]) -> None:
    """Refuse what a baseline cannot do, before anything is computed.

    Raises:
        UserError: the dense item-item matrix of ``ease`` does not fit, or ``vbpr`` has no features.
    """
    if name == "ease":
        check_closed_form(n_items)
    if name == "vbpr" and not modalities:
        hint = "Use bpr, or add features to the raw data; check data.modalities"
        raise ConfigError("vbpr needs item features and there are none", hint=hint)


def restore(
    name: str, tensors: Mapping[str, Tensor], config: Config, device: torch.device
) -> FittedBaseline | FactorModel:
    """A baseline that scores from saved arrays or factors, by name. Raises KeyError for a missing array.

    Those that are fitted in one go compute on the CPU whatever the device; factors are moved to it.
    """
    if name in FITTED:
        return FITTED[name].from_arrays({key: tensor.cpu().numpy() for key, tensor in tensors.items()}, config)
    return FactorModel({key: tensor.to(device) for key, tensor in tensors.items()})


def is_pairwise(name: str) -> bool:
    """Whether what is saved of a baseline are user and item factors."""
    found = TRAINED.get(name)
    return found is not None and issubclass(found, PairwiseRecommender)
