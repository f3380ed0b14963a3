"""Recommenders with a vector per user and item, trained on pairs of items (BPR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from ld4mrec_cli.models.base import Recommender, TrainableBaseline
from ld4mrec_cli.models.batches import PairBatches, Pairs
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.item_vectors import CosineSimilarity
from ld4mrec_cli.models.specs import no_new_users, no_shares

USER_FACTORS, ITEM_FACTORS, ITEM_BIAS = "user_factors", "item_factors", "item_bias"
WHY_NO_SHARES = "scores by the learned vectors of its users"
RESAMPLINGS = 4
"""Times that a negative item is sampled again if the user has interacted with it."""


class FactorModel(Recommender):
    """Scores ``p_u · q_i + b_i`` of training users."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Read the factors.

        Args:
            tensors: user factors ``(n_users, d)``, item factors ``(n_items, d)`` and item bias
                ``(n_items,)``, by name.
        """
        self.users = tensors[USER_FACTORS]
        self.items = tensors[ITEM_FACTORS]
        self.bias = tensors[ITEM_BIAS]

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_items)`` of ``users`` ``(n,)``; the rows are not used.

        Raises:
            UserError: ``users`` is None; this model has no vectors for new histories.
        """
        return self.factored_scores(rows, users).scores()

    def factored_scores(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """Factors of :meth:`score`."""
        if users is None:
            raise no_new_users("this model")
        vectors = self.users[torch.from_numpy(users).to(self.users.device)]
        return FactoredScores((vectors,), (self.items,), self.bias)

    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """See :meth:`Recommender.inner_products`: all scores of this model are."""
        return self.factored_scores(rows, users)

    def history_shares(self, row: csr_matrix, items: np.ndarray) -> NoReturn:
        """Raise UserError, see :meth:`check_shares`."""
        self.check_shares()

    def check_shares(self) -> NoReturn:
        """Raise UserError: the vectors of the users are learned, not made from a history."""
        raise no_shares(WHY_NO_SHARES)

    def item_similarity(self) -> CosineSimilarity:
        """Cosines of the item vectors; the bias of an item says nothing of its likeness."""
        return CosineSimilarity(self.items)


class PairwiseRecommender(TrainableBaseline):
    """Bayesian personalized ranking: an observed item should score above a negative one."""

    keys: Tensor
    """``user · n_items + item`` of each interaction, ascending."""

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
        """User factors ``(n_users, d)``, item factors ``(n_items, d)`` and bias ``(n_items,)``."""
        raise NotImplementedError

    def penalty(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Half the squared norm of the parameters of each interaction, summed over a batch."""
        raise NotImplementedError

    def loss(self, batch: Pairs, generator: torch.Generator) -> Tensor:
        """``-ln σ(s_ui - s_uj)`` with one negative j per item i, plus the L2 penalty."""
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
        """Sample an item for each of ``users`` ``(n,)`` that the user has not interacted with.

        Rarely, the user has: a negative is sampled again at most ``RESAMPLINGS`` times.
        """
        items = self._sample_items(users, generator)
        for _ in range(RESAMPLINGS):
            is_observed = self._is_observed(users, items)
            items = torch.where(is_observed, self._sample_items(users, generator), items)
        return items

    def _sample_items(self, users: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randint(self.n_items, users.shape, generator=generator, device=users.device)

    def _is_observed(self, users: Tensor, items: Tensor) -> Tensor:
        keys = users * self.n_items + items
        positions = torch.searchsorted(self.keys, keys).clamp_max(len(self.keys) - 1)
        return self.keys[positions] == keys

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

    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> FactoredScores:
        """See :meth:`Recommender.inner_products`: all scores of this model are."""
        return self.factored_scores(rows, users)

    def history_shares(self, row: csr_matrix, items: np.ndarray) -> NoReturn:
        """Raise UserError, see :meth:`check_shares`."""
        self.check_shares()

    def check_shares(self) -> NoReturn:
        """See :meth:`FactorModel.check_shares`."""
        raise no_shares(WHY_NO_SHARES)

    @torch.no_grad()
    def item_similarity(self) -> CosineSimilarity:
        """See :meth:`FactorModel.item_similarity`."""
        return self._factors().item_similarity()

    def _factors(self) -> FactorModel:
        """The factors, cached until the parameters change.

        Fused optimizers change parameters in place without a new version, so each call of
        :meth:`loss` clears the cache, too.
        """
        state = [(parameter.data_ptr(), parameter._version) for parameter in self.parameters()]
        if self._served is None or self._served[0] != state:
            self._served = (state, FactorModel(self.served_weights()))
        return self._served[1]


def half_square(*tensors: Tensor) -> Tensor:
    """Half the sum of the squares of all entries, a scalar."""
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum() / 2
