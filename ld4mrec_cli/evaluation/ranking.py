"""From scores to ranked lists: the one place that excludes items and breaks ties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from ld4mrec_cli.utils.errors import UserError


class Scorer(Protocol):
    """Interface of every recommender for ranking, metrics and the command line."""

    def score(self, rows: csr_matrix, users: np.ndarray | None = None) -> Tensor:
        """Scores ``(n, n_items)`` of all items for interaction rows ``(n, n_items)``.

        ``users`` ``(n,)``: the training users of the rows; most recommenders read the rows alone.
        """
        ...


class BlockwiseScores(Protocol):
    """Scores of some rows, computed block by block of items."""

    @property
    def n_items(self) -> int:
        """Items that there are scores for."""
        ...

    def block(self, start: int, stop: int) -> BlockwiseScores:
        """The same for the items from ``start`` to before ``stop``."""
        ...

    def scores(self) -> Tensor:
        """The scores ``(n, n_items)``, in memory of their own."""
        ...


@runtime_checkable
class BlockScorer(Protocol):
    """A scorer whose scores need not be computed all at once."""

    def factored_scores(
        self, rows: csr_matrix, users: np.ndarray | None = None
    ) -> BlockwiseScores | None:
        """Scores of :meth:`Scorer.score` in factors; None where the scores have no factors."""
        ...


@dataclass(frozen=True)
class _DenseScores:
    """Dense scores ``(n, n_items)``; a block is a copy, since ranking writes into it."""

    dense: Tensor

    @property
    def n_items(self) -> int:
        return self.dense.shape[1]

    def block(self, start: int, stop: int) -> _DenseScores:
        return _DenseScores(self.dense[:, start:stop])

    def scores(self) -> Tensor:
        return self.dense.clone()


class NonFiniteScoresError(UserError):
    """A recommender returned NaN or infinite scores. Exit code 1."""

    exit_code = 1


ITEMS_CHUNK_SIZE = 4096
"""Items whose scores are in memory at a time, where they are computed in blocks."""
GROUP_SIZE = 64
"""Scores of which only the maximum is compared first."""


@torch.inference_mode()
def rank(
    scorer: Scorer,
    rows: csr_matrix,
    exclude: csr_matrix | None,
    k: int,
    users: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rank all items for a batch of rows.

    Args:
        rows: input of the recommender, ``(n, n_items)``.
        exclude: items that must not be ranked, ``(n, n_items)``, or None.
        users: training users of the rows ``(n,)``; None for histories of new users.
        k: length of the lists; a list is never longer than the catalog.

    Returns:
        Item indices ``(n, depth)`` int64, -1 past the end of a list where fewer items remain, and
        their scores ``(n, depth)`` float32; ``depth = min(k, n_items)``. Where the scorer has
        factored scores, only the scores of n rows and a block of items are in memory.

    Raises:
        NonFiniteScoresError: a score is NaN or infinite.
    """
    if not rows.shape[0]:
        depth = min(k, rows.shape[1])
        return np.empty((0, depth), dtype=np.int64), np.empty((0, depth), dtype=np.float32)
    blocks = scorer.factored_scores(rows, users) if isinstance(scorer, BlockScorer) else None
    if blocks is None:
        blocks = _DenseScores(scorer.score(rows, users))
    k = min(k, blocks.n_items)
    best = RunningTopK(k)
    mask = ExclusionMask(exclude)
    width = max(ITEMS_CHUNK_SIZE, k)  # the first block fills the lists
    for start in range(0, blocks.n_items, width):
        stop = min(start + width, blocks.n_items)
        scores = blocks.block(start, stop).scores()
        if not bool(torch.isfinite(torch.stack([scores.amax(), scores.amin()])).all()):
            raise NonFiniteScoresError("the recommender returned scores that are not finite")
        mask.apply(scores, start, stop)
        best.update(scores, start)
    values, order = best.values.sort(dim=1, descending=True, stable=True)
    items = best.items.gather(1, order).masked_fill(values == -torch.inf, -1)
    return items.cpu().numpy(), values.float().cpu().numpy()


class ExclusionMask:
    """The excluded entries, in order of their items."""

    def __init__(self, exclude: csr_matrix | None) -> None:
        rows, items = (np.empty(0, np.int64),) * 2
        if exclude is not None:
            rows = np.repeat(np.arange(exclude.shape[0]), np.diff(exclude.indptr))
            items = exclude.indices.astype(np.int64)
        order = np.argsort(items, kind="stable")
        self._rows, self._items = rows[order], items[order]

    def apply(self, scores: Tensor, start: int, stop: int) -> None:
        """Set excluded entries of ``scores``, of the items ``start`` to ``stop``, to -inf."""
        first, last = np.searchsorted(self._items, [start, stop])
        at = (self._rows[first:last], self._items[first:last] - start)
        scores[tuple(torch.from_numpy(i).to(scores.device) for i in at)] = -torch.inf


class RunningTopK:
    """The k best entries of each row so far, in order of their items."""

    values: Tensor
    """``(n, k)``."""
    items: Tensor
    """``(n, k)`` int64."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._is_empty = True

    def update(self, scores: Tensor, start: int) -> None:
        """Add the ``scores`` ``(n, width)`` of items from ``start`` on. Blocks come in order."""
        if self._is_empty:
            self._is_empty = False
            places = _k_best(scores, self._k)
            self.values, self.items = scores.gather(1, places), places + start
            return
        rows, places, values = _above(scores, self.values.amin(dim=1))
        if not len(rows):
            return
        counts = torch.bincount(rows, minlength=len(scores))
        column = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        shape = (len(scores), int(counts.max()))
        new_values = values.new_full(shape, -torch.inf).index_put_((rows, column), values)
        new_items = places.new_zeros(shape).index_put_((rows, column), places + start)
        all_values, all_items = (
            torch.cat([self.values, new_values], dim=1),
            torch.cat([self.items, new_items], dim=1),
        )
        best = _k_best(all_values, self._k)
        self.values, self.items = all_values.gather(1, best), all_items.gather(1, best)


def _above(scores: Tensor, bound: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and value of the scores above their row's ``bound`` ``(n,)``, in order.

    The maximum of each group is compared first, so that few scores are compared one by one.
    """
    n, width = scores.shape
    if width % GROUP_SIZE:
        scores = F.pad(scores, (0, -width % GROUP_SIZE), value=-torch.inf)
    groups = scores.view(n, -1, GROUP_SIZE)
    row, group = (groups.amax(dim=2) > bound.unsqueeze(1)).nonzero(as_tuple=True)
    candidates = groups[row, group]
    index, offset = (candidates > bound[row].unsqueeze(1)).nonzero(as_tuple=True)
    return row[index], group[index] * GROUP_SIZE + offset, candidates[index, offset]


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row of ``scores`` ``(n, n_items)``, best first; ties by the lower index.

    Returns:
        Columns ``(n, k)`` int64, and scores ``(n, k)``.
    """
    items = _k_best(scores, k)
    values, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    return items.gather(1, order), values


def _k_best(scores: Tensor, k: int) -> Tensor:
    """Columns of the k best of each row ``(n, k)``, ascending.

    ``torch.topk`` takes any of several equal scores. Rows whose k-th score equals the next one are
    therefore cut again, in order of index.
    """
    if k == scores.shape[1]:
        return torch.arange(k, device=scores.device).expand(len(scores), -1)
    values, items = scores.topk(k + 1, dim=1)  # one more shows whether the k-th is tied
    last, items = values[:, k - 1 : k], items[:, :k].contiguous()
    rows = (last == values[:, k:]).squeeze(1).nonzero().squeeze(1)
    if len(rows):
        items[rows] = break_ties(scores[rows], last[rows], k)
    return items.sort(dim=1).values


def break_ties(scores: Tensor, last: Tensor, k: int) -> Tensor:
    """Columns ``(n, k)`` of the k best; of ties with the k-th (``last``), the lower columns."""
    above = scores > last
    level = scores == last
    room = k - above.sum(dim=1, keepdim=True)
    is_best = above | (level & (level.cumsum(dim=1) <= room))
    return is_best.nonzero()[:, 1].view(len(scores), k)


def batches(users: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Cut ``users`` into consecutive batches of at most ``size``."""
    for start in range(0, len(users), size):
        yield users[start : start + size]
