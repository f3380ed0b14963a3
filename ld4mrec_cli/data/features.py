"""Item features, aligned to the items of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ld4mrec_cli.data.readers.arrays import chunks
from ld4mrec_cli.data.readers.base import RawFeatures


@dataclass(frozen=True)
class Modality:
    """Features of one modality, aligned to the items of a dataset."""

    values: np.ndarray
    """``(n_items, dim)`` float32; items without a feature have the mean of the others."""
    present: np.ndarray
    """Items with a feature of their own, ``(n_items,)`` bool."""

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def coverage(self) -> float:
        """Share of the items that have a feature of their own."""
        return float(self.present.mean())


def align(raw: RawFeatures, item_ids: Sequence[str]) -> Modality:
    """Return raw features in the order of ``item_ids``; impute items without one."""
    return impute(*raw.aligned(item_ids))


def impute(values: np.ndarray, present: np.ndarray) -> Modality:
    """Set the features of items without one to the mean of the others, in place.

    Args:
        values: features ``(n_items, dim)``.
        present: items with a feature of their own, ``(n_items,)`` bool.
    """
    if present.any() and not present.all():
        total = sum(
            chunk[present[start : start + len(chunk)]].sum(axis=0, dtype=np.float64)
            for start, chunk in chunks(values)
        )
        values[~present] = (total / present.sum()).astype(np.float32)
    return Modality(values, present)
