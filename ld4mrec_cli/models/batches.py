"""Batches of an epoch: rows of users, or single interactions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.ops.sparse_rows import SparseRows, is_binary


class Batch(Protocol):
    """Training examples of one step."""

    def __len__(self) -> int:
        """Number of examples in the batch."""
        ...


class Batches(Protocol):
    """All training examples; each epoch has its own random order."""

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        ...

    def epoch(self, rng: np.random.Generator, device: torch.device) -> Iterator[Batch]:
        """Batches of one epoch on ``device``, in a random order drawn from ``rng``."""
        ...


class RowStore:
    """A CSR matrix of interactions on a device; batches of rows are gathered there."""

    def __init__(self, matrix: csr_matrix, device: torch.device) -> None:
        """``matrix``: ``(n_rows, n_items)``; its values are weights."""
        self._degree = np.diff(matrix.indptr)
        self._starts = torch.from_numpy(matrix.indptr[:-1].astype(np.int64)).to(device)
        self._counts = torch.from_numpy(self._degree.astype(np.int64)).to(device)
        self._items = torch.from_numpy(matrix.indices.astype(np.int32, copy=False)).to(device)
        self._weights: Tensor | None = None
        if not is_binary(matrix):
            self._weights = torch.from_numpy(matrix.data.astype(np.float32)).to(device)
        self._n_items = matrix.shape[1]

    def rows(self, row_ids: np.ndarray) -> SparseRows:
        """The rows ``row_ids`` ``(n,)``, in their order."""
        total = int(self._degree[row_ids].sum())  # on the CPU: no synchronization with a GPU
        index = torch.from_numpy(row_ids).to(self._starts.device)
        counts = self._counts[index]
        ends = counts.cumsum(0)
        shift = torch.repeat_interleave(
            self._starts[index] - ends + counts, counts, output_size=total
        )
        at = shift + torch.arange(total, device=shift.device)
        items = self._items[at].long()
        weights = None if self._weights is None else self._weights[at]
        values = torch.ones(total, device=items.device) if weights is None else weights
        return SparseRows(items, values, counts, self._n_items, weights=weights)


class RowBatches:
    """Batches of the rows of users who have interactions."""

    def __init__(self, train: csr_matrix, batch_size: int) -> None:
        """``train``: ``(n_users, n_items)``."""
        self._train = train
        self._users = np.flatnonzero(np.diff(train.indptr))
        self._size = batch_size
        self._stores: dict[torch.device, RowStore] = {}

    def __len__(self) -> int:
        return math.ceil(len(self._users) / self._size)

    def epoch(self, rng: np.random.Generator, device: torch.device) -> Iterator[SparseRows]:
        """See :class:`Batches`; the interactions go to the device once."""
        if device not in self._stores:
            self._stores[device] = RowStore(self._train, device)
        users = rng.permutation(self._users)
        for start in range(0, len(users), self._size):
            yield self._stores[device].rows(users[start : start + self._size])


@dataclass(frozen=True)
class Pairs:
    """Observed interactions of a batch."""

    users: Tensor
    """``(n,)`` int64."""
    items: Tensor
    """``(n,)`` int64."""

    def __len__(self) -> int:
        return len(self.users)


class PairBatches:
    """Batches of observed interactions."""

    def __init__(self, train: csr_matrix, batch_size: int) -> None:
        """``train``: ``(n_users, n_items)``."""
        self._users = np.repeat(np.arange(train.shape[0], dtype=np.int64), np.diff(train.indptr))
        self._items = train.indices.astype(np.int64)
        self._size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._items) / self._size)

    def epoch(self, rng: np.random.Generator, device: torch.device) -> Iterator[Pairs]:
        """See :class:`Batches`."""
        users, items = (torch.from_numpy(ids).to(device) for ids in (self._users, self._items))
        order = torch.from_numpy(rng.permutation(len(self._items))).to(device)
        for start in range(0, len(order), self._size):
            batch = order[start : start + self._size]
            yield Pairs(users[batch], items[batch])
