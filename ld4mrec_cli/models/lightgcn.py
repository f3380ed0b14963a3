"""LightGCN (He et al., SIGIR 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.lightgcn_settings import LightGCNConfig
from ld4mrec_cli.models.ops.graphs import user_item_operator
from ld4mrec_cli.models.ops.init import init_normal
from ld4mrec_cli.models.pairwise import PairwiseRecommender, half_square
from ld4mrec_cli.models.transfer import ITEMS, USERS, DataAxis


class LightGCN(PairwiseRecommender):
    """User and item vectors, averaged over the layers of a graph convolution without weights."""

    item_bias: Tensor

    def __init__(self, train: csr_matrix, factors: int, layers: int, regularization: float) -> None:
        super().__init__(train, regularization)
        self.layers = layers
        self.vectors = nn.Parameter(torch.empty(self.n_users + self.n_items, factors))
        self.graph = user_item_operator(train)
        self.register_buffer("item_bias", torch.zeros(self.n_items), persistent=False)

    @classmethod
    def build(
        cls,
        train: csr_matrix,
        settings: LightGCNConfig,
        features: Mapping[str, np.ndarray],
        seed: int,
    ) -> Self:
        """Make an untrained model; the vectors are drawn from ``seed``."""
        model = cls(train, settings.factors, settings.layers, settings.regularization)
        init_normal(model, seed)
        return model

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`ld4mrec_cli.models.base.TrainableRecommender`."""
        return {"vectors": DataAxis(0, (USERS, ITEMS))}

    def embed(self) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`ld4mrec_cli.models.pairwise.PairwiseRecommender`."""
        vectors = self.graph.average_layers(self.vectors, self.layers)
        return vectors[: self.n_users], vectors[self.n_users :], self.item_bias

    def penalty(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """See :class:`ld4mrec_cli.models.pairwise.PairwiseRecommender`."""
        return half_square(
            self.vectors[users],
            self.vectors[items + self.n_users],
            self.vectors[others + self.n_users],
        )
