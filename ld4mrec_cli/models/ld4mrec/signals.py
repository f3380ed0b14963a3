"""Fixed arrays of the items that LD4MRec is built around, computed once from the training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ease_settings import EASEConfig
from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.ld4mrec.guidance import COLLABORATIVE
from ld4mrec_cli.models.ld4mrec.settings import ModelConfig
from ld4mrec_cli.models.ops.als import fit_item_factors
from ld4mrec_cli.models.ops.item_bases import collaborative_basis, modality_basis
from ld4mrec_cli.models.ops.item_weights import ItemWeights, fit_item_weights


@dataclass(frozen=True)
class ItemSignals:
    """Item bases of the guidance, item degrees, EASE weights and iALS vectors."""

    bases: dict[str, np.ndarray]
    """Signal name → item basis ``(n_items, r_k)``."""
    degree: np.ndarray
    """Training interactions of each item, or the sum of their weights, ``(n_items,)``."""
    ease_weights: ItemWeights | None
    """Zero-diagonal item-item weights ``(n_items, n_items)`` in one of two forms, or None."""
    ials_items: np.ndarray | None = None
    """Item vectors of iALS ``(n_items, dim)``, or None."""

    @classmethod
    def compute(
        cls, config: ModelConfig, train: csr_matrix, features: Mapping[str, np.ndarray], seed: int
    ) -> ItemSignals:
        """Compute the signals.

        Args:
            config: which signals, and their settings.
            train: training interactions ``(n_users, n_items)``.
            features: name → item features ``(n_items, dim)``.
            seed: of the truncated SVD and of the initial iALS vectors.
        """
        basis = collaborative_basis(train, config.collaborative_rank, seed)
        bases = {COLLABORATIVE: basis.astype(np.float32)}
        for name, values in features.items():
            bases[name] = modality_basis(values, config.modality_dim)
        ease_weights, ials_items = None, None
        if config.ease:
            ease_weights = fit_item_weights(train, ease_config(config), features)
        if config.ials is True:  # auto: it was not chosen
            ials_items = fit_item_factors(train, ials_config(config), seed).numpy()
        degree = np.asarray(train.sum(axis=0)).ravel()
        return cls(bases, degree, ease_weights, ials_items)


def ease_config(config: ModelConfig) -> EASEConfig:
    """Settings of EASE within those of LD4MRec."""
    names = EASEConfig.model_fields
    return EASEConfig(**{name: getattr(config, f"ease_{name}") for name in names})


IALS_SETTINGS = {
    "factors": "ials_dim",
    "unobserved_weight": "ials_unobserved_weight",
    "regularization": "ials_ridge",
    "frequency_exponent": "ials_frequency_exponent",
}
"""Setting of iALS → that of LD4MRec."""


def ials_config(config: ModelConfig) -> IALSConfig:
    """Settings of iALS within those of LD4MRec."""
    return IALSConfig(**{name: getattr(config, own) for name, own in IALS_SETTINGS.items()})
