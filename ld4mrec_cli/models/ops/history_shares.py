"""What each item of a history contributes to a score: shares that add up to the score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

CHUNK_SIZE = 256
"""Rows, of a history without one of its items, that are scored at a time."""


def leave_one_out(score: Callable[[csr_matrix], Tensor], row: csr_matrix) -> Tensor:
    """Shares of a history by leaving each of its items out, ``(h, m)``.

    The history is scored ``h + 1`` times: once as it is, and once without each item.

    Args:
        score: scores ``(n, m)`` of rows ``(n, n_items)``.
        row: the history ``(1, n_items)``, of h items.
    """
    whole = score(row)
    chunks = []
    for start in range(0, row.nnz, CHUNK_SIZE):
        left_out = np.arange(start, min(start + CHUNK_SIZE, row.nnz))
        chunks.append(whole - score(_without(row, left_out)))
    return split_scores(whole, torch.cat(chunks) if chunks else whole[:0])


def _without(row: csr_matrix, left_out: np.ndarray) -> csr_matrix:
    """The row once for each of ``left_out`` ``(n,)``, without that entry: ``(n, n_items)``."""
    n, size = len(left_out), row.nnz
    is_kept = np.arange(size) != left_out[:, None]
    at = np.broadcast_to(np.arange(size), (n, size))[is_kept]
    indptr = np.arange(n + 1) * (size - 1)
    return csr_matrix((row.data[at], row.indices[at], indptr), shape=(n, row.shape[1]))


def split_scores(scores: Tensor, differences: Tensor) -> Tensor:
    """Split scores among the items of a history, so that the shares add up to them.

    A positive score is split in proportion to what it loses without each item; an item without
    which the score is no lower has no share. Where there is no such loss, or the score is not
    positive, a proportion would turn the order round: each share is then the loss, and what is
    missing to the score is spread evenly.

    Args:
        scores: ``(1, m)``.
        differences: what the scores lose without each item ``(h, m)``.

    Returns:
        Shares ``(h, m)``.
    """
    if not len(differences):
        return differences
    gains = differences.clamp_min(0.0)
    largest = gains.amax(dim=0, keepdim=True)
    relative = gains / largest.where(largest > 0.0, 1.0)  # a sum of tiny gains has few bits
    by_loss = scores * relative / relative.sum(dim=0, keepdim=True).clamp_min(1.0)
    missing = scores - differences.sum(dim=0, keepdim=True)
    return torch.where(
        (scores > 0.0) & (largest > 0.0), by_loss, differences + missing / len(differences)
    )


def split_row(row: csr_matrix) -> csr_matrix:
    """A row for each entry of ``row`` ``(1, n_items)``, with that entry alone: ``(h, n_items)``."""
    indptr = np.arange(row.nnz + 1)
    return csr_matrix((row.data, row.indices, indptr), shape=(row.nnz, row.shape[1]))
