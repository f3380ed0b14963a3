"""The k best scores of each row, block by block; the one place that breaks ties."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

GROUP_SIZE = 64
"""Scores of which only the maximum is compared first."""


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
            places = find_k_best(scores, self._k)
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
        best = find_k_best(all_values, self._k)
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
    items = find_k_best(scores, k)
    values, order = scores.gather(1, items).sort(dim=1, descending=True, stable=True)
    return items.gather(1, order), values


def find_k_best(scores: Tensor, k: int) -> Tensor:
    """Columns of the k best of each row of ``scores`` ``(n, n_items)``: ``(n, k)``, ascending.

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
