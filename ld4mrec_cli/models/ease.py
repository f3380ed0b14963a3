"""EASE^R: embarrassingly shallow autoencoder (Steck, WWW 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.ease_settings import EASEConfig
from ld4mrec_cli.models.ops.content_neighbors import CONTENT_SHARE
from ld4mrec_cli.models.ops.item_item import ItemItemRecommender
from ld4mrec_cli.models.ops.item_weights import (
    ItemWeights,
    describe_approximation,
    fit_item_weights,
)
from ld4mrec_cli.models.ops.ridge import check_memory
from ld4mrec_cli.models.ops.sparse_low_rank import SparseLowRank, SparseLowRankProduct
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.settings.base import Section


class EASE(ItemItemRecommender):
    """Zero-diagonal ridge regression of the items on each other (Steck, WWW 2019).

    With a ``content_weight``, items of similar features support each other (collective EASE).
    """

    content_share = CONTENT_SHARE

    def __init__(self, weights: ItemWeights | csr_matrix) -> None:
        """``weights``: B, or a sparse matrix, as of :class:`ItemItemRecommender`."""
        super().__init__(weights)
        self._product: SparseLowRankProduct | None = None
        if isinstance(weights, SparseLowRank):
            self._product = SparseLowRankProduct(weights)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], settings: Section) -> Self:
        """Restore from :meth:`arrays`."""
        if "left" in arrays:
            return cls(SparseLowRank.from_arrays(arrays))
        return super().from_arrays(arrays, settings)

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`ClosedFormRecommender`."""
        if isinstance(self.weights, SparseLowRank):
            return self.weights.arrays()
        return super().arrays()

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """See :class:`ClosedFormRecommender`."""
        if self._product is None:
            return super().score(rows, users)
        scores: Tensor = self._product(SparseRows.from_csr(rows).with_root_weights())
        return scores

    def score_items(
        self, rows: csr_matrix, items: np.ndarray, users: np.ndarray | None = None
    ) -> Tensor:
        """See :class:`ItemItemRecommender`."""
        if self._product is None:
            return super().score_items(rows, items, users)
        observed = SparseRows.from_csr(rows).with_root_weights()
        scores: Tensor = self._product(observed, torch.from_numpy(items))
        return scores

    @classmethod
    def check_catalog(cls, n_items: int, settings: EASEConfig) -> None:
        """Refuse a catalog whose dense item-item matrices do not fit into memory."""
        if n_items <= settings.max_items:
            check_memory(n_items)

    @classmethod
    def fit(
        cls, train: csr_matrix, settings: EASEConfig, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Solve the closed form, above ``settings.max_items`` approximately.

        Without the approximation, time is cubic and memory quadratic in the items.

        Raises:
            UserError: the memory of this machine is too small, or the ridge is.
        """
        n_items = train.shape[1]
        cls.check_catalog(n_items, settings)
        model = cls(fit_item_weights(train, settings, features))
        model.note = describe_approximation(n_items, settings, "ease.max_items")
        return model
