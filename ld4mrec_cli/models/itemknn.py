"""ItemKNN: item-based nearest neighbors (Sarwar et al., WWW 2001)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from scipy.sparse import csr_matrix, diags

from ld4mrec_cli.models.itemknn_settings import ItemKNNConfig
from ld4mrec_cli.models.ops.item_item import ItemItemRecommender
from ld4mrec_cli.models.ops.sparse_rows import root_weights


class ItemKNN(ItemItemRecommender):
    """Item-based nearest neighbors by cosine similarity (Sarwar et al. 2001).

    The cosine may be asymmetric, and users may have weights.
    """

    @classmethod
    def fit(
        cls,
        train: csr_matrix,
        settings: ItemKNNConfig,
        features: Mapping[str, np.ndarray],
        seed: int,
    ) -> Self:
        """Keep the ``neighbors`` most similar items of each scored item."""
        user_degree, degree = (np.asarray(train.sum(axis=axis)).ravel() for axis in (1, 0))
        user_degree[user_degree == 0.0] = 1.0
        weight = np.power(user_degree, -settings.user_exponent)
        values = root_weights(train)  # so that degrees are squared lengths: a cosine
        gram = (values.T @ diags(weight) @ values).tocoo()
        source = degree[gram.row] ** settings.source_exponent
        target = degree[gram.col] ** settings.target_exponent
        cosines = gram.data / (source * target + settings.shrinkage)
        similarity = csr_matrix((cosines, (gram.row, gram.col)), shape=gram.shape, dtype=np.float32)
        similarity.setdiag(0.0)
        similarity.eliminate_zeros()
        return cls(keep_largest(similarity.T.tocsr(), settings.neighbors).T.tocsr())


def keep_largest(matrix: csr_matrix, k: int) -> csr_matrix:
    """Keep the k largest entries of each row; ties keep the lower index."""
    is_largest = np.zeros(matrix.nnz, dtype=bool)
    for row in range(matrix.shape[0]):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        order = np.lexsort((matrix.indices[span], -matrix.data[span]))[:k]
        is_largest[span.start + order] = True
    row_of = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    indices = (row_of[is_largest], matrix.indices[is_largest])
    return csr_matrix((matrix.data[is_largest], indices), shape=matrix.shape)
