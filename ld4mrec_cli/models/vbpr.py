"""VBPR: visual Bayesian personalized ranking (He & McAuley, AAAI 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.ops.init import init_normal
from ld4mrec_cli.models.ops.item_bases import modality_basis
from ld4mrec_cli.models.pairwise import PairwiseRecommender, half_square
from ld4mrec_cli.models.transfer import ROWS_OF_ITEMS, ROWS_OF_USERS, DataAxis, signal
from ld4mrec_cli.models.vbpr_settings import VBPRConfig


class VBPR(PairwiseRecommender):
    """BPR with item vectors that are in part projections of the item features."""

    features: Tensor
    """``(n_items, dim)``."""

    @classmethod
    def build(
        cls, train: csr_matrix, settings: VBPRConfig, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Make an untrained model; features are standardized per modality and concatenated."""
        bases = {name: modality_basis(f, max_dim=f.shape[1]) for name, f in features.items()}
        model = cls(
            train, bases, settings.factors, settings.feature_factors, settings.regularization
        )
        init_normal(model, seed)
        return model

    def __init__(
        self,
        train: csr_matrix,
        bases: Mapping[str, np.ndarray],
        factors: int,
        feature_factors: int,
        regularization: float,
    ) -> None:
        """``bases``: modality → features ``(n_items, dim)``."""
        super().__init__(train, regularization)
        features = np.concatenate(list(bases.values()), axis=1).astype(np.float32)
        self.widths = {name: basis.shape[1] for name, basis in bases.items()}
        self.register_buffer("features", torch.from_numpy(features), persistent=False)
        dim = features.shape[1]
        self.users = nn.Parameter(torch.empty(self.n_users, factors))
        self.items = nn.Parameter(torch.empty(self.n_items, factors))
        self.feature_users = nn.Parameter(torch.empty(self.n_users, feature_factors))
        self.projection = nn.Parameter(torch.empty(dim, feature_factors))
        self.feature_bias = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(self.n_items))

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`ld4mrec_cli.models.base.TrainableRecommender`."""
        of_features = DataAxis(0, tuple(signal(name) for name in self.widths))
        return {
            **dict.fromkeys(("users", "feature_users"), ROWS_OF_USERS),
            **dict.fromkeys(("items", "bias"), ROWS_OF_ITEMS),
            **dict.fromkeys(("projection", "feature_bias"), of_features),
        }

    def signals(self) -> Mapping[str, Tensor]:
        """See :class:`ld4mrec_cli.models.base.TrainableRecommender`."""
        parts = self.features.split(list(self.widths.values()), dim=1)
        return dict(zip(self.widths, parts, strict=True))

    def embed(self) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`PairwiseRecommender`."""
        users = torch.cat([self.users, self.feature_users], dim=1)
        items = torch.cat([self.items, self.features @ self.projection], dim=1)
        return users, items, self.bias + self.features @ self.feature_bias

    def penalty(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """See :class:`PairwiseRecommender`."""
        vectors = (
            self.users[users],
            self.feature_users[users],
            self.items[items],
            self.items[others],
        )
        return half_square(*vectors) + len(users) * half_square(self.projection, self.feature_bias)
