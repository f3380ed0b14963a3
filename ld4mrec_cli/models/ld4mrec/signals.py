"""Fixed arrays about the items that LD4MRec is built around, computed once from the training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.ld4mrec.guidance import COLLABORATIVE
from ld4mrec_cli.models.ld4mrec.settings import ModelConfig
from ld4mrec_cli.models.ops.als import LeastSquares, fit_item_factors
from ld4mrec_cli.models.ops.item_bases import collaborative_basis, modality_basis
from ld4mrec_cli.models.ops.ridge import fit_ease


@dataclass(frozen=True)
class ItemSignals:
    """What C-Net is given about the items: fixed arrays, computed once from the training data."""

    bases: dict[str, np.ndarray]
    """Signal name → item basis ``(n_items, r_k)``."""
    degree: np.ndarray
    """Training interactions of each item, ``(n_items,)``."""
    ease_weights: np.ndarray | None
    """Zero-diagonal item-item weights ``(n_items, n_items)``, or None."""
    ials_items: np.ndarray | None = None
    """Item vectors of implicit least squares ``(n_items, dim)``, or None."""

    @classmethod
    def compute(
        cls, config: ModelConfig, train: csr_matrix, features: Mapping[str, np.ndarray], seed: int
    ) -> ItemSignals:
        """Compute the signals of ``train`` ``(n_users, n_items)`` and item ``features`` (name → ``(n_items, dim)``)."""
        degree = np.asarray(train.sum(axis=0)).ravel()
        bases = {
            COLLABORATIVE: collaborative_basis(train, config.collaborative_rank, seed).astype(
                np.float32
            )
        }
        for name, values in features.items():
            bases[name] = modality_basis(values, config.modality_dim)
        weights = None
        if config.ease and train.shape[1] <= config.ease_max_items:
            weights = fit_ease(
                train, config.ease_ridge, config.ease_degree_ridge, config.ease_user_exponent
            )
        factors = None
        if config.ials and train.shape[1] <= config.ease_max_items:
            factors = fit_item_factors(train, ials_settings(config), seed).numpy()
        return cls(bases, degree, weights, factors)


def ials_settings(config: ModelConfig) -> IALSConfig:
    """What least squares takes from the model's settings."""
    return IALSConfig(
        factors=config.ials_dim,
        unobserved_weight=config.ials_unobserved_weight,
        regularization=config.ials_ridge,
        frequency_exponent=config.ials_frequency_exponent,
    )


class IALSScores:
    """``[w vᵀ]₊`` of the item vectors v, with the vector w of a row solved for from the row itself."""

    def __init__(self, items: np.ndarray, settings: IALSConfig, scale: float) -> None:
        """``items``: ``(n_items, dim)``."""
        self._items = torch.from_numpy(items)
        """Kept on the device of the last scores."""
        self._scale = scale
        self._users = LeastSquares(self._items, settings)

    def __call__(self, rows: csr_matrix, device: torch.device) -> Tensor:
        """Scores ``(n, n_items)`` on ``device``; the small systems are solved on the CPU."""
        if self._items.device != device:
            self._items = self._items.to(device)
        vectors = self._users.solve(rows).mul_(self._scale).to(device)
        return (vectors @ self._items.T).clamp_min_(0.0)
