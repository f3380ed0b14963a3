"""What an epoch is cut into: rows of users, or single interactions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.model.rows import Rows


class Batch(Protocol):
    """One step's training examples."""

    def __len__(self) -> int:
        """Examples in the batch."""
        ...


class Batches(Protocol):
    """All training examples; each epoch goes through them in an order of its own."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def epoch(self, order: np.random.Generator, device: torch.device) -> Iterator[Batch]:
        """One epoch's batches on ``device``, in an order drawn from ``order``."""
        ...


class RowBatches:
    """Batches of the rows of users who have interactions."""

    def __init__(self, train: csr_matrix, batch_size: int) -> None:
        """``train``: ``(n_users, n_items)``."""
        self._train = train
        self._users = np.flatnonzero(np.diff(train.indptr))
        self._size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._users) / self._size)

    def epoch(self, order: np.random.Generator, device: torch.device) -> Iterator[Rows]:
        """See :class:`Batches`."""
        users = order.permutation(self._users)
        for start in range(0, len(users), self._size):
            yield Rows.from_csr(self._train[users[start : start + self._size]], device)


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

    def epoch(self, order: np.random.Generator, device: torch.device) -> Iterator[Pairs]:
        """See :class:`Batches`."""
        chosen = order.permutation(len(self._items))
        for start in range(0, len(chosen), self._size):
            part = chosen[start : start + self._size]
            yield Pairs(*(torch.from_numpy(ids[part]).to(device) for ids in (self._users, self._items)))
