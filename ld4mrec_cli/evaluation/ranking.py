"""From scores to ranked lists: the one place that excludes items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.evaluation.topk import RunningTopK
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

    @property
    def device(self) -> torch.device:
        """Where they are computed."""
        ...

    def block(self, start: int, stop: int) -> BlockwiseScores:
        """The same for the items from ``start`` to before ``stop``."""
        ...

    def of_items(self, item_ids: Tensor) -> BlockwiseScores:
        """The same for the items ``item_ids`` ``(m,)`` int64, in their order."""
        ...

    def biased(self, bias: Tensor) -> BlockwiseScores:
        """The same with ``bias`` ``(n_items,)`` added to the scores of each row."""
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


@runtime_checkable
class ItemScorer(Protocol):
    """A scorer that computes the scores of some items for less than those of all."""

    def score_items(
        self, rows: csr_matrix, items: np.ndarray, users: np.ndarray | None = None
    ) -> Tensor:
        """Scores of :meth:`Scorer.score` of the items ``(m,)``, ascending: ``(n, m)``."""
        ...


@runtime_checkable
class PartScorer(Scorer, Protocol):
    """A scorer whose scores may be a sum of parts, each times a weight that is not negative."""

    @property
    def part_weights(self) -> Mapping[str, float] | None:
        """Present weights of the parts by name; None: the scores are no such sum."""
        ...

    def score_parts(self, rows: csr_matrix) -> Iterator[Mapping[str, Tensor]]:
        """Blocks of items, in order: the parts of the scores by name, not weighed.

        Each part is ``(n, width)`` float32, in memory of its own.
        """
        ...


@dataclass(frozen=True)
class _DenseScores:
    """Dense scores ``(n, n_items)``; a block is a copy, since ranking writes into it."""

    dense: Tensor
    bias: Tensor | None = None
    """Added to each row ``(n_items,)``."""

    @property
    def n_items(self) -> int:
        return self.dense.shape[1]

    @property
    def device(self) -> torch.device:
        return self.dense.device

    def block(self, start: int, stop: int) -> _DenseScores:
        bias = None if self.bias is None else self.bias[start:stop]
        return _DenseScores(self.dense[:, start:stop], bias)

    def of_items(self, item_ids: Tensor) -> _DenseScores:
        bias = None if self.bias is None else self.bias[item_ids]
        return _DenseScores(self.dense[:, item_ids], bias)

    def biased(self, bias: Tensor) -> _DenseScores:
        return _DenseScores(self.dense, bias if self.bias is None else self.bias + bias)

    def scores(self) -> Tensor:
        return self.dense.clone() if self.bias is None else self.dense + self.bias


class NonFiniteScoresError(UserError):
    """A recommender returned NaN or infinite scores. Exit code 1."""

    exit_code = 1


ITEMS_CHUNK_SIZE = 4096
"""Items whose scores are in memory at a time, where they are computed in blocks."""
MAX_GATHERED_SHARE = 0.1
"""Share of the items up to which the vectors of allowed items are gathered; above it, gathering
would cost more than the scores of the others."""


@torch.inference_mode()
def rank(
    scorer: Scorer,
    rows: csr_matrix,
    exclude: csr_matrix | None,
    k: int,
    users: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rank all items for a batch of rows, or the allowed ones.

    Args:
        rows: input of the recommender, ``(n, n_items)``.
        exclude: items that must not be ranked, ``(n, n_items)``, or None.
        users: training users of the rows ``(n,)``; None for histories of new users.
        k: length of the lists; a list is never longer than the catalog.
        allowed: items that may be ranked ``(m,)`` int64, ascending; None: all. Where they are few,
            the others are not scored if the scorer can do without.

    Returns:
        Item indices ``(n, depth)`` int64, -1 past the end of a list where fewer items remain, and
        their scores ``(n, depth)`` float32; ``depth = min(k, n_items or m)``. Where the scorer has
        factored scores, only the scores of n rows and a block of items are in memory.

    Raises:
        NonFiniteScoresError: a score is NaN or infinite.
    """
    n_items = rows.shape[1] if allowed is None else len(allowed)
    if not rows.shape[0] or not n_items:
        empty = rows.shape[0], min(k, n_items)
        return np.empty(empty, dtype=np.int64), np.empty(empty, dtype=np.float32)
    gathered = allowed if _is_small_share(allowed, rows.shape[1]) else None
    denied = None if gathered is not None else _others(allowed, rows.shape[1])
    k = min(k, n_items)
    best = RunningTopK(k)
    mask = ExclusionMask(exclude, gathered)
    width = max(ITEMS_CHUNK_SIZE, k)  # the first block fills the lists
    for start, stop, scores in _score_blocks(scorer, rows, users, width, gathered, denied):
        mask.apply(scores, start, stop)
        best.update(scores, start)
    values, order = best.values.sort(dim=1, descending=True, stable=True)
    items = best.items.gather(1, order).cpu()
    if gathered is not None:
        items = torch.from_numpy(gathered)[items]
    items = items.masked_fill(values.cpu() == -torch.inf, -1)
    return items.numpy(), values.float().cpu().numpy()


@torch.inference_mode()
def score_pairs(
    scorer: Scorer, rows: csr_matrix, pairs: csr_matrix, users: np.ndarray | None = None
) -> np.ndarray:
    """Scores of some pairs of row and item; only items of a pair are scored, where that is cheaper.

    Args:
        rows: input of the recommender, ``(n, n_items)``.
        pairs: the pairs ``(n, n_items)``, with sorted indices.
        users: training users of the rows ``(n,)``; None for histories of new users.

    Returns:
        Scores in the order of ``pairs.indices``, ``(pairs.nnz,)`` float32.

    Raises:
        NonFiniteScoresError: a score is NaN or infinite.
    """
    values = np.empty(pairs.nnz, dtype=np.float32)
    items = np.unique(pairs.indices).astype(np.int64)
    if not len(items):
        return values
    gathered = items if _is_small_share(items, rows.shape[1]) else None
    column_of = pairs.indices if gathered is None else np.searchsorted(items, pairs.indices)
    row_of = np.repeat(np.arange(pairs.shape[0]), np.diff(pairs.indptr))
    for start, stop, scores in _score_blocks(scorer, rows, users, ITEMS_CHUNK_SIZE, gathered):
        at = np.flatnonzero((column_of >= start) & (column_of < stop))
        index = (row_of[at], column_of[at].astype(np.int64) - start)
        chosen = scores[tuple(torch.from_numpy(i).to(scores.device) for i in index)]
        values[at] = chosen.float().cpu().numpy()
    return values


def _is_small_share(items: np.ndarray | None, n_items: int) -> bool:
    return items is not None and len(items) <= MAX_GATHERED_SHARE * n_items


def _others(allowed: np.ndarray | None, n_items: int) -> Tensor | None:
    """-inf for the items that are not allowed, 0 for the others ``(n_items,)``; None: no item.

    As a bias it costs nothing where the scores have one; a mask over all scores would.
    """
    if allowed is None:
        return None
    penalty = torch.full((n_items,), -torch.inf)
    penalty[torch.from_numpy(allowed)] = 0.0
    return penalty


def _score_blocks(
    scorer: Scorer,
    rows: csr_matrix,
    users: np.ndarray | None,
    width: int,
    items: np.ndarray | None,
    denied: Tensor | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """First place, end, and scores ``(n, end - first)`` of each block of at most ``width`` items.

    Places count all items, or ``items`` ``(m,)`` ascending. ``denied``: see :func:`_others`.

    Raises:
        NonFiniteScoresError: a score is NaN or infinite.
    """
    blocks = scorer.factored_scores(rows, users) if isinstance(scorer, BlockScorer) else None
    if items is not None and blocks is None and isinstance(scorer, ItemScorer):
        blocks, items = _DenseScores(scorer.score_items(rows, items, users)), None
    if blocks is None:
        blocks = _DenseScores(scorer.score(rows, users))
    chosen = None if items is None else torch.from_numpy(items).to(blocks.device)
    if denied is not None:
        blocks = blocks.biased(denied.to(blocks.device))
    n_items = blocks.n_items if chosen is None else len(chosen)
    for start in range(0, n_items, width):
        stop = min(start + width, n_items)
        block = blocks.block(start, stop) if chosen is None else blocks.of_items(chosen[start:stop])
        scores = block.scores()
        check_finite(scores, has_denied=denied is not None)
        yield start, stop, scores


def check_finite(scores: Tensor, *, has_denied: bool = False) -> None:
    """Raise NonFiniteScoresError; -inf is right where items are denied."""
    extremes = torch.stack(torch.aminmax(scores))  # NaN goes through
    is_wrong = ~torch.isfinite(extremes)
    if has_denied:
        is_wrong &= extremes != -torch.inf
    if bool(is_wrong.any()):
        raise NonFiniteScoresError("the recommender returned scores that are not finite")


class ExclusionMask:
    """The excluded entries, in order of their items."""

    def __init__(self, exclude: csr_matrix | None, gathered: np.ndarray | None = None) -> None:
        """``gathered``: the items that are scored ``(m,)``, ascending; None: all."""
        rows, items = (np.empty(0, np.int64),) * 2
        if exclude is not None:
            rows = np.repeat(np.arange(exclude.shape[0]), np.diff(exclude.indptr))
            items = exclude.indices.astype(np.int64)
        if gathered is not None and len(items):
            places = np.searchsorted(gathered, items).clip(max=len(gathered) - 1)
            is_scored = gathered[places] == items
            rows, items = rows[is_scored], places[is_scored]
        order = np.argsort(items, kind="stable")
        self._rows, self._items = rows[order], items[order]

    def apply(self, scores: Tensor, start: int, stop: int) -> None:
        """Set excluded entries of ``scores``, of the items ``start`` to ``stop``, to -inf."""
        first, last = np.searchsorted(self._items, [start, stop])
        at = (self._rows[first:last], self._items[first:last] - start)
        scores[tuple(torch.from_numpy(i).to(scores.device) for i in at)] = -torch.inf


def batches(users: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Cut ``users`` into consecutive batches of at most ``size``."""
    for start in range(0, len(users), size):
        yield users[start : start + size]
