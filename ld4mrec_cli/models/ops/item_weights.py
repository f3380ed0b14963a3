"""The item-item weights B of EASE: dense, or for a large catalog sparse plus low rank."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ease_settings import EASEConfig
from ld4mrec_cli.models.ops.item_bases import join_features
from ld4mrec_cli.models.ops.ridge import fit_ease
from ld4mrec_cli.models.ops.sparse_low_rank import SparseLowRank
from ld4mrec_cli.models.ops.sparse_ridge import fit_sparse_ease

CONTENT_DIM = 512
"""Above ``max_items``, features of a modality with more columns are reduced to this number by PCA:
the weights take two numbers for each item and column."""

ItemWeights = np.ndarray | SparseLowRank
"""B ``(n_items, n_items)`` float32, row = item interacted with, column = item scored."""


def fit_item_weights(
    train: csr_matrix, settings: EASEConfig, features: Mapping[str, np.ndarray]
) -> ItemWeights:
    """EASE weights of interactions ``(n_users, n_items)``.

    They are approximate above ``settings.max_items``. ``features`` are by modality, each
    ``(n_items, dim)``. A setting that is ``auto`` is not chosen here: it is where a choice starts.

    Raises:
        UserError: the ridge is too small.
    """
    choice = settings.choice
    ridges = (choice.ridge, settings.degree_ridge, settings.user_exponent)
    if train.shape[1] <= settings.max_items:
        dense = fit_ease(train, *ridges, join_features(features, choice.content_weight))
        return np.clip(dense, 0.0, None, out=dense) if choice.nonnegative else dense
    content = join_features(features, choice.content_weight, CONTENT_DIM)
    sparse = fit_sparse_ease(train, *ridges, content, settings.neighbors)
    return sparse.without_negatives() if choice.nonnegative else sparse


def describe_approximation(n_items: int, settings: EASEConfig, max_items_key: str) -> str | None:
    """What a user should know of the weights of ``n_items``; None where they are exact.

    ``max_items_key``: name of the setting ``max_items``, for the text.
    """
    if n_items <= settings.max_items:
        return None
    return (
        f"EASE weights are an approximation by {settings.neighbors:,} neighbors of each item: the "
        f"{n_items:,} items are more than {max_items_key}, {settings.max_items:,}"
    )
