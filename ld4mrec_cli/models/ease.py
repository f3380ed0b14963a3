"""EASE^R: embarrassingly shallow autoencoder (Steck, WWW 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ease_settings import EASEConfig
from ld4mrec_cli.models.ops.item_bases import join_features
from ld4mrec_cli.models.ops.item_item import ItemItemRecommender
from ld4mrec_cli.models.ops.ridge import check_memory, fit_ease


class EASE(ItemItemRecommender):
    """Zero-diagonal ridge regression of the items on each other (Steck, WWW 2019).

    With a ``content_weight``, items of similar features support each other (collective EASE).
    """

    @classmethod
    def check_catalog(cls, n_items: int) -> None:
        """Refuse a catalog whose dense item-item matrices do not fit into memory."""
        check_memory(n_items)

    @classmethod
    def fit(
        cls, train: csr_matrix, settings: EASEConfig, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Solve the closed form; time is cubic and memory quadratic in the items.

        The weights are dense: most are not zero, so a sparse matrix would be larger.

        Raises:
            UserError: the memory of this machine is too small, or the ridge is.
        """
        cls.check_catalog(train.shape[1])
        content = join_features(features, settings.content_weight)
        weights = fit_ease(
            train, settings.ridge, settings.degree_ridge, settings.user_exponent, content
        )
        return cls(weights)
