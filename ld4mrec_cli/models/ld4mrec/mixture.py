"""Other estimates of the next behavior, mixed with C-Net's softmax at inference."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from ld4mrec_cli.models.ials_settings import IALSConfig
from ld4mrec_cli.models.ld4mrec.guidance import ItemItemWeights
from ld4mrec_cli.models.ops.als import LeastSquares
from ld4mrec_cli.models.ops.sparse_rows import SparseRows


class IALSScores:
    """``[w vᵀ]₊`` with item vectors v and a row's vector w, solved from the row itself."""

    def __init__(self, items: np.ndarray, settings: IALSConfig, scale: float) -> None:
        """``items``: ``(n_items, dim)``; ``scale``: factor of the scores."""
        self._items = torch.from_numpy(items)
        """On the device of the last scores."""
        self._scale = scale
        self._users = LeastSquares(self._items, settings)

    def __call__(self, rows: csr_matrix, device: torch.device) -> Tensor:
        """Scores ``(n, n_items)`` on ``device``; the small systems are solved on the CPU."""
        if self._items.device != device:
            self._items = self._items.to(device)
        vectors = self._users.solve(rows).mul_(self._scale).to(device)
        return (vectors @ self._items.T).clamp_min_(0.0)


class Mixture(nn.Module):
    """``softmax(scores) + w [x B]₊ + v [w_x Iᵀ]₊``: each part estimates the next behavior."""

    def __init__(self, ease: ItemItemWeights | None, ials: IALSScores | None) -> None:
        """Both parts are optional; without them the scores stay as they are."""
        super().__init__()
        self.ease = ease
        self.ials = ials

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to mix in."""
        return self.ease is None and self.ials is None

    def forward(self, scores: Tensor, observed: SparseRows, rows: csr_matrix) -> Tensor:
        """Mix C-Net's ``scores`` ``(n, n_items)`` with the parts.

        ``observed`` and ``rows`` are the same rows, as tensors and as a CSR matrix.
        """
        if self.is_empty:
            return scores
        mixture = scores.softmax(dim=1)
        if self.ease is not None:
            mixture = self.ease(observed).clamp_min(0.0).mul(self.ease.scale).add(mixture)
        if self.ials is not None:
            mixture = mixture + self.ials(rows, scores.device)
        return mixture
