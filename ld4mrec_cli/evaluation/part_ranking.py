"""Ranked lists for a weighted sum of parts, again and again with other weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.evaluation.ranking import ExclusionMask, PartScorer, check_finite, rank
from ld4mrec_cli.evaluation.topk import find_k_best, top_k

ITEMS_PER_PLACE = 3
"""Items that are kept of each part for each place of a list. Of 47,104 pairs of user and weights,
lists of 20 places were certain for all but 2 with 64 items (Baby), for all with 128 (Sports)."""
MAX_KEPT_ITEMS = 10_000_000
"""Most items that are kept, of all users and parts together: some 200 MB."""
MOST_PARTS = 3
"""Parts that there may be."""


def count_kept_users(depth: int) -> int:
    """Users that a :class:`PartRanker` may have for lists of ``depth`` places."""
    return MAX_KEPT_ITEMS // (ITEMS_PER_PLACE * MOST_PARTS * depth)


class PartRanker:
    """Ranks for the same users with changing weights of the parts of the scores.

    The scores are computed once. The best items of each part are kept, with the values of all
    parts. No other item has more of any part than the last of its best items, which bounds its
    score for any weights. A list whose last score is above this bound is that of the whole catalog;
    the others are ranked anew.
    """

    def __init__(
        self, scorer: PartScorer, rows: csr_matrix, exclude: csr_matrix, depth: int
    ) -> None:
        """Rank for ``rows`` ``(n_users, n_items)`` all items but those of ``exclude``.

        Args:
            scorer: has parts; until the last call, their weights alone change.
            depth: places of the lists.
        """
        self._scorer = scorer
        self._rows = rows
        self._exclude = exclude
        self._depth = depth
        self._kept: dict[int, tuple[np.ndarray, KeptParts]] = {}
        """Users of each batch by the first of them, and what is kept."""

    def __call__(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items ``(n, depth)`` and scores for ``users``, as :func:`rank` gives them.

        What is kept serves the users of one batch, so they come in the same batches each time.

        Raises:
            NonFiniteScoresError: a score is NaN or infinite.
        """
        weights = self._scorer.part_weights
        assert weights is not None
        items, scores, is_certain = self._keep(users).rank(weights, self._depth)
        again = np.flatnonzero(~is_certain)
        if len(again):
            at = users[again]
            rows, exclude = self._rows[at], self._exclude[at]
            items[again], scores[again] = rank(self._scorer, rows, exclude, self._depth, at)
        return items, scores

    def _keep(self, users: np.ndarray) -> KeptParts:
        before = self._kept.get(int(users[0]))
        if before is not None and np.array_equal(before[0], users):
            return before[1]
        rows, exclude = self._rows[users], self._exclude[users]
        kept = keep_parts(self._scorer, rows, exclude, self._depth)
        self._kept[int(users[0])] = users, kept
        return kept


@dataclass(frozen=True)
class KeptParts:
    """Of some rows, the items that may be in a list, with the values of their parts."""

    items: Tensor
    """``(n, m)`` int64, ascending in each row; one that is twice in a row counts once."""
    parts: Mapping[str, Tensor]
    """Values of each part ``(n, m)``."""
    is_out: Tensor
    """Items that are not ranked, and repeated ones ``(n, m)``."""
    bounds: Mapping[str, Tensor]
    """What an item that is not kept has at most of each part ``(n,)``; -inf: all are kept."""

    def rank(
        self, weights: Mapping[str, float], depth: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lists for these weights, which are not negative.

        Returns:
            Items ``(n, depth)`` int64, -1 past the end of a list, their scores float32, and whether
            the lists are certain to be those of all items ``(n,)``.
        """
        scores, bound = self._weigh(self.parts, weights), self._weigh(self.bounds, weights)
        places, values = top_k(scores.masked_fill_(self.is_out, -torch.inf), depth)
        items = self.items.gather(1, places).masked_fill_(values == -torch.inf, -1)
        is_certain = (values[:, -1] > bound) | (bound == -torch.inf)
        return items.cpu().numpy(), values.cpu().numpy(), is_certain.cpu().numpy()

    @staticmethod
    def _weigh(values: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        total = torch.zeros_like(next(iter(values.values())))
        for name, value in values.items():
            if weights[name]:  # 0 times infinity is no number
                total.add_(value, alpha=weights[name])
        return total


@torch.inference_mode()
def keep_parts(scorer: PartScorer, rows: csr_matrix, exclude: csr_matrix, depth: int) -> KeptParts:
    """Keep what lists of ``depth`` places need of the scores of ``rows`` ``(n, n_items)``.

    Raises:
        NonFiniteScoresError: a score is NaN or infinite.
    """
    mask, start = ExclusionMask(exclude), 0
    n_kept = min(ITEMS_PER_PLACE * depth, rows.shape[1])
    best: list[_Best] = []
    for parts in scorer.score_parts(rows):
        width = next(iter(parts.values())).shape[1]
        for values in parts.values():
            check_finite(values)
            mask.apply(values, start, start + width)
        best = best or [_Best(order, n_kept) for order in parts]
        for one in best:
            one.update(parts, start)
        start += width
    return _join(best, is_all=n_kept == rows.shape[1])


class _Best:
    """The best items of one part so far, with the values of all parts."""

    items: Tensor

    def __init__(self, order: str, n_kept: int) -> None:
        """``order``: the part that decides."""
        self.order = order
        self._n_kept = n_kept
        self.parts: dict[str, Tensor] = {}

    def update(self, parts: Mapping[str, Tensor], start: int) -> None:
        """Add a block of items that begins with ``start``."""
        decisive = parts[self.order]
        places = find_k_best(decisive, min(self._n_kept, decisive.shape[1]))
        items = places + start
        values = {name: part.gather(1, places) for name, part in parts.items()}
        if self.parts:
            items = torch.cat([self.items, items], dim=1)
            values = {name: torch.cat([self.parts[name], values[name]], dim=1) for name in values}
            cut = find_k_best(values[self.order], min(self._n_kept, items.shape[1]))
            items = items.gather(1, cut)
            values = {name: value.gather(1, cut) for name, value in values.items()}
        self.items, self.parts = items, values


def _join(best: Sequence[_Best], *, is_all: bool) -> KeptParts:
    """The best items of all parts, side by side."""
    items, order = torch.cat([one.items for one in best], dim=1).sort(dim=1, stable=True)
    parts = {
        name: torch.cat([one.parts[name] for one in best], dim=1).gather(1, order)
        for name in best[0].parts
    }
    is_out = torch.stack([part == -torch.inf for part in parts.values()]).any(dim=0)
    is_out[:, 1:] |= items[:, 1:] == items[:, :-1]
    bounds = {one.order: one.parts[one.order].amin(dim=1) for one in best}
    if is_all:
        bounds = {name: torch.full_like(bound, -torch.inf) for name, bound in bounds.items()}
    return KeptParts(items, parts, is_out, bounds)
