"""The items that are most similar to an item."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.ranking import Scorer, batches, rank


def rank_similar(
    similarity: Scorer,
    queries: np.ndarray,
    n_items: int,
    k: int,
    batch_size: int,
    allowed: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rank all items by their similarity to each query, batch by batch.

    A list has neither the query itself nor items with the similarity 0: nothing relates them, and
    their order would be that of the catalog.

    Args:
        similarity: see :meth:`ld4mrec_cli.models.base.Recommender.item_similarity`.
        queries: item indices ``(n,)`` int64.
        n_items: items of the catalog.
        k: length of the lists.
        batch_size: queries that are scored at a time.
        allowed: items that may be listed ``(m,)`` int64, ascending; None: all.

    Yields:
        Queries ``(b,)``, their similar items ``(b, depth)`` int64, -1 where there is none, and the
        similarities.
    """
    for batch in batches(queries, batch_size):
        at = np.arange(len(batch)), batch
        rows = csr_matrix((np.ones(len(batch), np.float32), at), shape=(len(batch), n_items))
        items, scores = rank(similarity, rows, rows, k, allowed=allowed)
        yield batch, np.where(scores == 0.0, -1, items), scores
