"""Recommenders that are a vector per user and per item, trained on pairs: MF-BPR and VBPR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional as F

from ld4mrec_cli.config import Config
from ld4mrec_cli.errors import UserError
from ld4mrec_cli.model.batches import PairBatches, Pairs
from ld4mrec_cli.model.guidance import modality_basis
from ld4mrec_cli.model.inner_products import InnerProducts
from ld4mrec_cli.model.trainable import TrainableRecommender

USER_FACTORS, ITEM_FACTORS, ITEM_BIAS = "user_factors", "item_factors", "item_bias"
REDRAWS = 4
"""Times that a negative item is drawn again where the user has interacted with it."""


class FactorModel:
    """Scores ``p_u · q_i + b_i`` of the users that were there in training."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """``tensors``: user factors ``(n_users, d)``, item factors ``(n_items, d)``, item bias ``(n_items,)``."""
        self.users, self.items, self.bias = tensors[USER_FACTORS], tensors[ITEM_FACTORS], tensors[ITEM_BIAS]

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_items)`` of ``users`` ``(n,)``; the rows themselves play no part.

        Raises:
            UserError: no users are given: this kind of model has nothing for a new history.
        """
        return self.inner_products(rows, users).scores()

    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> InnerProducts:
        """The same, not yet multiplied out."""
        if users is None:
            hint = "Serve histories with ease, itemknn, ials, multvae, diffrec or ld4mrec"
            raise UserError("this model knows its training users alone, not new histories", hint=hint)
        vectors = self.users[torch.from_numpy(users).to(self.users.device)]
        return InnerProducts((vectors,), (self.items,), self.bias)


class PairwiseRecommender(TrainableRecommender):
    """Bayesian personalised ranking: an observed item should score above one drawn from the others."""

    keys: Tensor

    def __init__(self, train: csr_matrix, regularisation: float) -> None:
        """``train``: ``(n_users, n_items)`` with sorted indices."""
        super().__init__()
        self.n_users, self.n_items = train.shape
        self.regularisation = regularisation
        self._served: tuple[list[tuple[int, int]], FactorModel] | None = None
        row_of = np.repeat(np.arange(self.n_users, dtype=np.int64), np.diff(train.indptr))
        self.register_buffer("keys", torch.from_numpy(row_of * self.n_items + train.indices), persistent=False)

    def batches(self, train: csr_matrix, batch_size: int) -> PairBatches:
        """Observed interactions."""
        return PairBatches(train, batch_size)

    def embed(self) -> tuple[Tensor, Tensor, Tensor]:
        """User factors ``(n_users, d)``, item factors ``(n_items, d)`` and item bias ``(n_items,)``."""
        raise NotImplementedError

    def penalty(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Half the squared length of the parameters of each interaction in a batch, summed over them, a scalar."""
        raise NotImplementedError

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """``-ln σ(s_ui - s_uj)`` with one drawn item j per observed i, and the L2 penalty per interaction."""
        self._served = None
        others = self.negatives(batch.users, generator)
        users, items, bias = self.embed()
        vectors = users[batch.users]
        difference = (vectors * (items[batch.items] - items[others])).sum(dim=1) + bias[batch.items] - bias[others]
        penalty = self.penalty(batch.users, batch.items, others) / len(batch)
        return F.softplus(-difference).mean() + self.regularisation * penalty

    def negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """An item for each of ``users`` ``(n,)`` that the user has (but for rare cases) not interacted with."""
        drawn = torch.randint(self.n_items, users.shape, generator=generator, device=users.device)
        for _ in range(REDRAWS):
            again = self._observed(users, drawn)
            fresh = torch.randint(self.n_items, users.shape, generator=generator, device=users.device)
            drawn = torch.where(again, fresh, drawn)
        return drawn

    def _observed(self, users: Tensor, items: Tensor) -> Tensor:
        wanted = users * self.n_items + items
        at = torch.searchsorted(self.keys, wanted).clamp_max(len(self.keys) - 1)
        return self.keys[at] == wanted

    @torch.no_grad()
    def served_weights(self) -> dict[str, Tensor]:
        """The factors, from which :class:`FactorModel` scores."""
        return dict(zip((USER_FACTORS, ITEM_FACTORS, ITEM_BIAS), self.embed(), strict=True))

    @torch.no_grad()
    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """See :meth:`FactorModel.score`."""
        return self._factors().score(rows, users)

    @torch.no_grad()
    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> InnerProducts:
        """See :meth:`FactorModel.inner_products`."""
        return self._factors().inner_products(rows, users)

    def _factors(self) -> FactorModel:
        """Computed once for as long as the parameters stay.

        They change in place, of which fused optimisers leave no trace in the version: each loss forgets the factors.
        """
        state = [(parameter.data_ptr(), parameter._version) for parameter in self.parameters()]
        if self._served is None or self._served[0] != state:
            self._served = (state, FactorModel(self.served_weights()))
        return self._served[1]


class BPR(PairwiseRecommender):
    """Matrix factorisation with item biases (Rendle et al., UAI 2009)."""

    @classmethod
    def build(cls, config: Config, train: csr_matrix, features: Mapping[str, np.ndarray]) -> Self:
        """Make an untrained model; the weights are drawn from ``training.seed``."""
        model = cls(train, config.bpr.factors, config.bpr.regularisation)
        draw(model, config.training.seed)
        return model

    def __init__(self, train: csr_matrix, factors: int, regularisation: float) -> None:
        super().__init__(train, regularisation)
        self.users = nn.Parameter(torch.empty(self.n_users, factors))
        self.items = nn.Parameter(torch.empty(self.n_items, factors))
        self.bias = nn.Parameter(torch.zeros(self.n_items))

    def embed(self) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`PairwiseRecommender`."""
        return self.users, self.items, self.bias

    def penalty(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """See :class:`PairwiseRecommender`."""
        return half_square(self.users[users], self.items[items], self.items[others])


class VBPR(PairwiseRecommender):
    """BPR whose item vectors have a part projected from the item features (He & McAuley, AAAI 2016)."""

    features: Tensor

    @classmethod
    def build(cls, config: Config, train: csr_matrix, features: Mapping[str, np.ndarray]) -> Self:
        """Make an untrained model; features are standardised per modality and joined."""
        joined = np.concatenate([modality_basis(f, max_dim=f.shape[1]) for f in features.values()], axis=1)
        settings = config.vbpr
        model = cls(train, joined, settings.factors, settings.feature_factors, settings.regularisation)
        draw(model, config.training.seed)
        return model

    def __init__(
        self, train: csr_matrix, features: np.ndarray, factors: int, feature_factors: int, regularisation: float
    ) -> None:
        """``features``: ``(n_items, dim)``."""
        super().__init__(train, regularisation)
        self.register_buffer("features", torch.from_numpy(features.astype(np.float32)), persistent=False)
        dim = features.shape[1]
        self.users = nn.Parameter(torch.empty(self.n_users, factors))
        self.items = nn.Parameter(torch.empty(self.n_items, factors))
        self.feature_users = nn.Parameter(torch.empty(self.n_users, feature_factors))
        self.projection = nn.Parameter(torch.empty(dim, feature_factors))
        self.feature_bias = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(self.n_items))

    def embed(self) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`PairwiseRecommender`."""
        users = torch.cat([self.users, self.feature_users], dim=1)
        items = torch.cat([self.items, self.features @ self.projection], dim=1)
        return users, items, self.bias + self.features @ self.feature_bias

    def penalty(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """See :class:`PairwiseRecommender`."""
        vectors = (self.users[users], self.feature_users[users], self.items[items], self.items[others])
        return half_square(*vectors) + len(users) * half_square(self.projection, self.feature_bias)


def half_square(*tensors: Tensor) -> Tensor:
    """Half the sum of the squares of all entries, a scalar."""
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum() / 2


@torch.no_grad()
def draw(model: nn.Module, seed: int, std: float = 0.1) -> None:
    """Draw the matrices of a model from a normal distribution; vectors stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            nn.init.normal_(parameter, std=std, generator=generator)
