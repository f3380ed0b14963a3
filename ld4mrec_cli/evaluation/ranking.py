"""From scores to ranked lists: the one place that masks and cuts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor


class Scorer(Protocol):
    """What every recommender is to ranking, metrics and the command line."""

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_items)`` of all items for interaction rows ``(n, n_items)``.

        ``users`` ``(n,)`` says whose rows they are, where they are those of training; most recommenders
        look at the rows alone.
        """
        ...


class NonFiniteScores(ValueError):
    """A recommender returned NaN or infinite scores."""


def rank(
    scorer: Scorer, rows: csr_matrix, masked: csr_matrix | None, k: int, users: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rank all items for a batch of rows.

    Args:
        rows: what the recommender sees, ``(n, n_items)``.
        masked: items that must not be ranked, ``(n, n_items)``, or None.
        users: whose rows they are ``(n,)``; None for histories that training does not know.
        k: length of the lists; no list is longer than the catalogue, however large this is.

    Returns:
        Item indices ``(n, depth)`` int64, -1 past the end of a list where masking left fewer, and their scores
        ``(n, depth)`` float32; ``depth = min(k, n_items)``.

    Raises:
        NonFiniteScores: a score is NaN or infinite.
    """
    scores = scorer.score(rows, users)
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteScores("the recommender returned scores that are not finite")
    if masked is not None:
        row_of = np.repeat(np.arange(masked.shape[0]), np.diff(masked.indptr))
        index = (torch.from_numpy(row_of), torch.from_numpy(masked.indices.astype(np.int64)))
        scores = scores.clone()
        scores[tuple(i.to(scores.device) for i in index)] = -torch.inf
    items, values = top_k(scores, min(k, scores.shape[1]))
    items = items.masked_fill(values == -torch.inf, -1)
    return items.cpu().numpy(), values.float().cpu().numpy()


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row, best first; ties are broken by the lower index.

    ``torch.topk`` leaves open which of several equal scores it takes, so rows whose k-th score is
    tied with one left out are cut again, in order of index.
    """
    values, items = scores.topk(k, dim=1)
    last = values[:, -1:]
    tied = ((scores == last).sum(dim=1) > (values == last).sum(dim=1)).nonzero().squeeze(1)
    if len(tied):
        items[tied] = _cut_by_index(scores[tied], last[tied], k)
    items = items.sort(dim=1).values
    values = scores.gather(1, items)
    order = values.argsort(dim=1, descending=True, stable=True)
    return items.gather(1, order), values.gather(1, order)


def _cut_by_index(scores: Tensor, last: Tensor, k: int) -> Tensor:
    above = scores > last
    level = scores == last
    room = k - above.sum(dim=1, keepdim=True)
    chosen = above | (level & (level.cumsum(dim=1) <= room))
    return chosen.nonzero()[:, 1].view(len(scores), k)


def batches(users: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Cut ``users`` into consecutive batches of at most ``size``."""
    for start in range(0, len(users), size):
        yield users[start : start + size]
