"""Items with similar content."""

from __future__ import annotations

import numpy as np

from ld4mrec_cli.data.dataset import Dataset

BLOCK_SIZE = 512
"""Items whose similarities are in memory at the same time."""


def read_content(dataset: Dataset) -> np.ndarray:
    """Features of all modalities ``(n_items, dim)`` float32, each item's modality of length 1.

    Rows of items without any features are zero. Without modalities dim is 0.
    """
    parts = [np.zeros((dataset.shape[1], 0), dtype=np.float32)]
    for name in dataset.modality_names():
        modality = dataset.modality(name)
        values = np.where(modality.present[:, None], modality.values, 0.0)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        parts.append((values / np.maximum(length, 1e-12)).astype(np.float32))
    return np.concatenate(parts, axis=1)


def find_neighbors(content: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Other items nearest to ``items`` ``(m,)`` by cosine ``(m, k)`` int64, nearest first.

    Items that are nothing like it, with a cosine of at most 0, are -1. Of equally near ones, those
    with the lower index come first.

    Args:
        content: ``(n_items, dim)``.
        items: the items.
        k: number of neighbors.
    """
    length = np.linalg.norm(content, axis=1, keepdims=True)
    unit = content / np.maximum(length, 1e-12)
    k = min(k, len(content) - 1)
    found = np.full((len(items), k), -1, dtype=np.int64)
    for start in range(0, len(items), BLOCK_SIZE):
        block = items[start : start + BLOCK_SIZE]
        cosines = unit[block] @ unit.T
        cosines[np.arange(len(block)), block] = -np.inf
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        is_like = np.take_along_axis(cosines, nearest, axis=1) > 0.0
        found[start : start + BLOCK_SIZE] = np.where(is_like, nearest, -1)
    return found
