"""MF-BPR: matrix factorization by Bayesian personalized ranking (Rendle et al., UAI 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.bpr_settings import BPRConfig
from ld4mrec_cli.models.ops.init import init_normal
from ld4mrec_cli.models.pairwise import PairwiseRecommender, half_square
from ld4mrec_cli.models.transfer import ROWS_OF_ITEMS, ROWS_OF_USERS, DataAxis


class BPR(PairwiseRecommender):
    """Matrix factorization with item biases (Rendle et al., UAI 2009)."""

    @classmethod
    def build(
        cls, train: csr_matrix, settings: BPRConfig, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Make an untrained model; the weights are drawn from ``seed``."""
        model = cls(train, settings.factors, settings.regularization)
        init_normal(model, seed)
        return model

    def __init__(self, train: csr_matrix, factors: int, regularization: float) -> None:
        super().__init__(train, regularization)
        self.users = nn.Parameter(torch.empty(self.n_users, factors))
        self.items = nn.Parameter(torch.empty(self.n_items, factors))
        self.bias = nn.Parameter(torch.zeros(self.n_items))

    def data_axes(self) -> Mapping[str, DataAxis]:
        """See :class:`TrainableRecommender`."""
        return {"users": ROWS_OF_USERS, "items": ROWS_OF_ITEMS, "bias": ROWS_OF_ITEMS}

    def embed(self) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`PairwiseRecommender`."""
        return self.users, self.items, self.bias

    def penalty(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """See :class:`PairwiseRecommender`."""
        return half_square(self.users[users], self.items[items], self.items[others])
