"""EASE^R: embarrassingly shallow autoencoder (Steck, WWW 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ease_settings import EASEConfig
from ld4mrec_cli.models.ops.item_item import ItemItemRecommender
from ld4mrec_cli.models.ops.ridge import check_closed_form, fit_ease


class EASE(ItemItemRecommender):
    """Embarrassingly shallow autoencoder: zero-diagonal ridge item weights (Steck, WWW 2019)."""

    @classmethod
    def fit(
        cls, train: csr_matrix, settings: EASEConfig, features: Mapping[str, np.ndarray], seed: int
    ) -> Self:
        """Solve the closed form; time is cubic and memory quadratic in the items.

        The weights stay dense: most of them are not zero, so that a sparse matrix would be the larger one.

        Raises:
            UserError: the items are too many for the memory of this machine.
        """
        check_closed_form(train.shape[1])
        return cls(np.ascontiguousarray(fit_ease(train, settings.ridge), dtype=np.float32))
