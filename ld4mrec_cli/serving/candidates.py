"""Rank given pairs of users and items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.ranking import Scorer, batches, score_pairs
from ld4mrec_cli.serving.reasons import Explainer, ReasonArrays
from ld4mrec_cli.serving.requests import Requests
from ld4mrec_cli.utils.distributed import Group


def rank_candidates(
    scorer: Scorer,
    requests: Requests,
    pairs: csr_matrix,
    k: int | None,
    batch_size: int,
    group: Group,
    explain: Explainer | None = None,
) -> Iterator[tuple[Sequence[str | None], np.ndarray, np.ndarray, ReasonArrays | None]]:
    """Score pairs and rank the items of each request.

    Args:
        scorer: the model.
        requests: n known users.
        pairs: their candidates ``(n, n_items)``, with sorted indices.
        k: length of the lists; None: all candidates.
        batch_size: users that are scored at a time.
        group: processes that share each batch; the main process alone gets the lists.
        explain: finds the reasons of the entries; None: they are not asked for.

    Yields:
        Names of m users, their ranked items ``(m, depth)`` int64, -1 past the end, scores, and
        reasons.
    """
    for batch in batches(np.arange(len(requests)), batch_size * group.size):
        shard = batch[slice(*group.shard_bounds(len(batch)))]
        depth = int(np.diff(pairs.indptr)[batch].max())
        depth = depth if k is None else min(k, depth)
        own, rows = pairs[shard], requests.rows(shard)
        scores = score_pairs(scorer, rows, own, requests.users[shard])
        sizes = group.shard_sizes(len(batch))
        ranked = _sort(own, scores, depth)
        found = None if explain is None else explain(rows, ranked[0], group, sizes)
        items, values = (group.gather_array(part, sizes) for part in ranked)
        if group.is_main_process:
            yield [requests.names[at] for at in batch], items, values, found


def _sort(pairs: csr_matrix, scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Items ``(n, depth)`` and scores of each row, best first; of ties, the lower item first."""
    counts = np.diff(pairs.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((pairs.indices, -scores, rows))
    place = np.arange(len(rows)) - np.repeat(pairs.indptr[:-1], counts)
    is_kept = place < depth
    items = np.full((len(counts), depth), -1, dtype=np.int64)
    values = np.full((len(counts), depth), -np.inf, dtype=np.float32)
    at = rows[is_kept], place[is_kept]
    items[at], values[at] = pairs.indices[order][is_kept], scores[order][is_kept]
    return items, values
