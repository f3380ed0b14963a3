"""Weights of the rows in the loss, by their number of targets, or by the weights of these."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from torch import Tensor


class RowWeights:
    """Weights ``n^a`` of rows with n targets, divided by their mean over the training rows.

    Where interactions have weights, n is the sum of those of the targets.
    """

    def __init__(self, exponent: float) -> None:
        """``exponent``: a; 0 gives every row the same weight."""
        self.exponent = exponent
        self._mean = 1.0

    def fit(self, train: csr_matrix, target_rate: float) -> None:
        """Compute the mean weight of the rows of ``train``; see :func:`mean_row_weight`."""
        lengths = np.diff(train.indptr)
        is_row = lengths > 0
        if self.exponent and is_row.any():
            totals = np.asarray(train.sum(axis=1, dtype=np.float64)).ravel()[is_row]
            lengths = lengths[is_row]
            self._mean = mean_row_weight(lengths, target_rate, self.exponent, totals / lengths)

    def apply(self, weight: Tensor, targets: Tensor) -> Tensor:
        """Multiply ``weight`` ``(n,)`` by those of rows with ``targets`` ``(n,)``."""
        if not self.exponent:
            return weight
        return weight * targets.pow(self.exponent) / self._mean


def mean_row_weight(
    lengths: np.ndarray,
    target_rate: float,
    exponent: float,
    behavior_weights: np.ndarray | None = None,
) -> float:
    """Mean of n^``exponent`` over the rows with n ≥ 1 targets.

    n is the number of targets in a row of ``lengths`` ``(n_rows,)`` behaviors, each of which is a
    target with probability ``target_rate``. With ``behavior_weights`` ``(n_rows,)``, the mean
    weight of a row's behaviors, it is that times the number: targets stand for the row.
    """
    from scipy.stats import binom  # slow to import, needed in training alone

    factors = np.ones(len(lengths)) if behavior_weights is None else behavior_weights**exponent
    sizes, inverse = np.unique(lengths, return_inverse=True)
    total, n_counted = 0.0, 0.0
    for length, factor, n_rows in zip(
        sizes, np.bincount(inverse, factors), np.bincount(inverse), strict=True
    ):
        n = np.arange(1, length + 1)
        probability = binom.pmf(n, length, target_rate)
        total += factor * float(probability @ n**exponent)
        n_counted += n_rows * float(probability.sum())
    return total / n_counted
