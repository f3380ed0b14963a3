"""EASE weights for many weights of the content, from one inversion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ops.item_bases import modality_basis
from ld4mrec_cli.models.ops.ridge import invert_gram, to_weights


class ContentVariants:
    """B of :func:`ld4mrec_cli.models.ops.ridge.fit_ease` for any weights of the modalities.

    With ``P = (XᵀWX + Λ)⁻¹`` and the features F, the inverse with content is
    ``P - PF (diag(1/a) + FᵀPF)⁻¹ FᵀP`` (Woodbury): a weight costs items² · columns, not items³.
    It agrees with a fit of its own to the precision of float32.
    """

    def __init__(
        self,
        train: csr_matrix,
        ridge: float,
        degree_ridge: float,
        user_exponent: float,
        features: Mapping[str, np.ndarray],
    ) -> None:
        """Invert the Gram matrix of the interactions ``(n_users, n_items)``.

        ``features``: modality → item features ``(n_items, dim)``.

        Raises:
            UserError: the ridge is too small for float64.
        """
        self._inverse = invert_gram(train, ridge, degree_ridge, user_exponent)
        self._bases = {
            name: modality_basis(values, values.shape[1]) for name, values in features.items()
        }
        self._products = {name: self._inverse @ basis for name, basis in self._bases.items()}

    def weights(self, content_weights: Mapping[str, float]) -> np.ndarray:
        """B ``(n_items, n_items)`` float32, of which the caller may change the entries.

        ``content_weights``: weight a by modality; others, and those of weight 0, do not count.
        """
        names = [name for name, weight in content_weights.items() if weight > 0.0]
        if not names:
            return to_weights(self._inverse.copy())
        basis = np.concatenate([self._bases[name] for name in names], axis=1)
        product = np.concatenate([self._products[name] for name in names], axis=1)
        core = (basis.T @ product).astype(np.float64)
        dims = [self._bases[name].shape[1] for name in names]
        core[np.diag_indices_from(core)] += np.repeat(
            [1.0 / content_weights[name] for name in names], dims
        )
        update = np.linalg.solve(core, product.T.astype(np.float64)).astype(np.float32)
        return to_weights(self._inverse - product @ update)
