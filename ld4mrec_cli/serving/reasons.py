"""Why an item is listed: the items of the history that spoke most for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.base import Recommender
from ld4mrec_cli.utils.distributed import Group


@dataclass(frozen=True)
class ReasonArrays:
    """Reasons of the entries of n lists, by item index."""

    items: np.ndarray
    """``(n, depth, width)`` int64, the largest share first; -1 where there is no further item."""
    shares: np.ndarray
    """``(n, depth, width)`` float32."""


@dataclass(frozen=True)
class Explainer:
    """Finds the items of a history that spoke most for what is listed."""

    model: Recommender
    """Scores the lists; it has shares, see :meth:`Recommender.check_shares`."""
    width: int
    """Items of the history that an entry names at most."""

    def __call__(
        self, rows: csr_matrix, items: np.ndarray, group: Group, sizes: Sequence[int]
    ) -> ReasonArrays:
        """Reasons of the lists of a batch.

        Only listed entries are split, user by user, so that memory follows one history.

        Args:
            rows: the histories of this process ``(n, n_items)``, with sorted indices.
            items: the listed items ``(n, depth)`` int64, -1 for none.
            group: processes that share the batch; all of them get its reasons.
            sizes: rows of each process.
        """
        lengths = group.gather_array(np.diff(rows.indptr).astype(np.int64), sizes)
        width = min(self.width, int(lengths.max(initial=0)))
        found = np.full((*items.shape, width), -1, dtype=np.int64)
        shares = np.zeros(found.shape, dtype=np.float32)
        for n, listed in enumerate(items):
            self._explain(rows[n], listed, found[n], shares[n])
        return ReasonArrays(group.gather_array(found, sizes), group.gather_array(shares, sizes))

    def _explain(
        self, history: csr_matrix, listed: np.ndarray, found: np.ndarray, shares: np.ndarray
    ) -> None:
        """Write the reasons of one list into ``found`` and ``shares`` ``(depth, width)``."""
        at = np.flatnonzero(listed >= 0)
        if not (len(at) and history.nnz):
            return
        values = self.model.history_shares(history, listed[at])
        best = np.argsort(-values, axis=0, kind="stable")[: found.shape[1]]
        found[at, : len(best)] = history.indices[best].T
        shares[at, : len(best)] = np.take_along_axis(values, best, axis=0).T
