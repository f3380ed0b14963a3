"""Weights of the rows in the loss, by their number of targets."""

from __future__ import annotations

import numpy as np
from torch import Tensor


class RowWeights:
    """Weights ``n^a`` of rows with n targets, divided by their mean over the training rows."""

    def __init__(self, exponent: float) -> None:
        """``exponent``: a; 0 gives every row the same weight."""
        self.exponent = exponent
        self._mean = 1.0

    def fit(self, lengths: np.ndarray, target_rate: float) -> None:
        """Compute the mean weight of training rows; see :func:`mean_row_weight`."""
        if self.exponent and len(lengths):
            self._mean = mean_row_weight(lengths, target_rate, self.exponent)

    def apply(self, weight: Tensor, n_targets: Tensor) -> Tensor:
        """Multiply ``weight`` ``(n,)`` by those of rows with ``n_targets`` ``(n,)`` int64."""
        if not self.exponent:
            return weight
        return weight * n_targets.float().pow(self.exponent) / self._mean


def mean_row_weight(lengths: np.ndarray, target_rate: float, exponent: float) -> float:
    """Mean of n^``exponent`` over the rows with n ≥ 1 targets.

    n is the number of targets in a row of ``lengths`` ``(n_rows,)`` behaviors, each of which is a
    target with probability ``target_rate``.
    """
    from scipy.stats import binom  # slow to import, needed in training alone

    total, n_counted = 0.0, 0.0
    for length, n_rows in zip(*np.unique(lengths, return_counts=True), strict=True):
        n = np.arange(1, length + 1)
        probability = binom.pmf(n, length, target_rate)
        total += n_rows * float(probability @ n**exponent)
        n_counted += n_rows * float(probability.sum())
    return total / n_counted
