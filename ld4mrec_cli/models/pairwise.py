"""Recommenders that are a vector per user and per item, trained on pairs (BPR)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from ld4mrec_cli.models.base import TrainableRecommender
from ld4mrec_cli.models.batches import PairBatches, Pairs
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.utils.errors import UserError

USER_FACTORS, ITEM_FACTORS, ITEM_BIAS = "user_factors", "item_factors", "item_bias"
REDRAWS = 4
"""Times that a negative item is drawn again where the user has interacted with it."""


class FactorModel:
    """Scores ``p_u · q_i + b_i`` of the users that were there in training."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """``tensors``: user factors ``(n_users, d)``, item factors ``(n_items, d)``, item bias ``(n_items,)``."""
        self.users, self.items, self.bias = (
            tensors[USER_FACTORS],
            tensors[ITEM_FACTORS],
            tensors[ITEM_BIAS],
        )

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_items)`` of ``users`` ``(n,)``; the rows themselves play no part.

        Raises:
            UserError: no users are given: this kind of model has nothing for a new history.
        """
        return self.factored_scores(rows, users).scores()

    def factored_scores(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """The same, not yet multiplied out."""
        if users is None:
            hint = "Serve histories with ease, itemknn, ials, multvae, diffrec or ld4mrec"
            raise UserError(
                "this model knows its training users alone, not new histories", hint=hint
            )
        vectors = self.users[torch.from_numpy(users).to(self.users.device)]
        return FactoredScores((vectors,), (self.items,), self.bias)


class PairwiseRecommender(TrainableRecommender):
    """Bayesian personalized ranking: an observed item should score above one drawn from the others."""

    keys: Tensor

    def __init__(self, train: csr_matrix, regularization: float) -> None:
        """``train``: ``(n_users, n_items)`` with sorted indices."""
        super().__init__()
        self.n_users, self.n_items = train.shape
        self.regularization = regularization
        self._served: tuple[list[tuple[int, int]], FactorModel] | None = None
        row_of = np.repeat(np.arange(self.n_users, dtype=np.int64), np.diff(train.indptr))
        self.register_buffer(
            "keys", torch.from_numpy(row_of * self.n_items + train.indices), persistent=False
        )

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
        difference = (
            (vectors * (items[batch.items] - items[others])).sum(dim=1)
            + bias[batch.items]
            - bias[others]
        )
        penalty = self.penalty(batch.users, batch.items, others) / len(batch)
        return F.softplus(-difference).mean() + self.regularization * penalty

    def negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """An item for each of ``users`` ``(n,)`` that the user has (but for rare cases) not interacted with."""
        drawn = torch.randint(self.n_items, users.shape, generator=generator, device=users.device)
        for _ in range(REDRAWS):
            again = self._observed(users, drawn)
            fresh = torch.randint(
                self.n_items, users.shape, generator=generator, device=users.device
            )
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
    def factored_scores(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """See :meth:`FactorModel.factored_scores`."""
        return self._factors().factored_scores(rows, users)

    def _factors(self) -> FactorModel:
        """Computed once for as long as the parameters stay.

        They change in place, of which fused optimizers leave no trace in the version: each loss forgets the factors.
        """
        state = [(parameter.data_ptr(), parameter._version) for parameter in self.parameters()]
        if self._served is None or self._served[0] != state:
            self._served = (state, FactorModel(self.served_weights()))
        return self._served[1]


def half_square(*tensors: Tensor) -> Tensor:
    """Half the sum of the squares of all entries, a scalar."""
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum() / 2
