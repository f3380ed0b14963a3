"""Implicit alternating least squares (Hu et al., ICDM 2008), regularised as in Rendle et al., RecSys 2022."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.config import Config, IALSConfig
from ld4mrec_cli.model.inner_products import InnerProducts
from ld4mrec_cli.model.least_squares import LeastSquares, fit_items


class IALS:
    """Squared error over all cells, an unobserved one weighing α₀; vectors solved for in turn, in closed form.

    A user's vector is solved from the row that is scored, so that any history can be served.
    """

    def __init__(self, items: Tensor, settings: IALSConfig) -> None:
        """``items``: item vectors ``(n_items, factors)`` float32."""
        self.items = items
        self._users = LeastSquares(items, settings)

    @classmethod
    def fit(cls, train: csr_matrix, config: Config) -> Self:
        """Alternate over users and items, from item vectors drawn from ``training.seed``."""
        return cls(fit_items(train, config.ials, config.training.seed), config.ials)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], config: Config) -> Self:
        """Restore from :meth:`arrays`."""
        return cls(torch.from_numpy(arrays["items"]), config.ials)

    def arrays(self) -> dict[str, np.ndarray]:
        """See :class:`ld4mrec_cli.baselines.registry.Baseline`."""
        return {"items": self.items.numpy()}

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Solve the rows' vectors and multiply them with the items' ``(n, n_items)``."""
        return self.inner_products(rows, users).scores()

    def inner_products(self, rows: csr_matrix, users: np.ndarray | None = None) -> InnerProducts:
        """The same, not yet multiplied out."""
        vectors = self._users.solve(rows)
        return InnerProducts((vectors,), (self.items,), self.items.new_zeros(len(self.items)))
