"""The known items that new items are like in content, and the mean over them.

A new item has no interactions, so what a model has learned of items says nothing of it. Known items
of like content stand for it: what a model computes for the new item is the mean over them, weighted
by the cosine (nearest-neighbor regression).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from ld4mrec_cli.models.ops.item_bases import FeatureScaler, orient_axes, principal_axes

NEIGHBORS = 10
"""Known items that stand for a new one, at most."""
MAX_DIM = 512
"""Features of a modality with more columns are compared by this number of principal components."""
CONTENT_SHARE = 0.1
"""``Recommender.content_share`` of models whose scores estimate interactions, by 0 to 1."""
CHUNK_SIZE = 512
"""New items that are compared at a time."""


class ItemFeatures(NamedTuple):
    """Features of n items in one modality."""

    values: np.ndarray
    """``(n, dim)``."""
    present: np.ndarray
    """Which items have a feature of their own ``(n,)`` bool."""


def find_content_neighbors(
    known: np.ndarray, new: np.ndarray, is_candidate: np.ndarray
) -> csr_matrix:
    """Weights of the known items that stand for each new item.

    Args:
        known: content of the known items ``(n_known, dim)``, of :func:`embed_content`.
        new: content of the new items ``(n_new, dim)``.
        is_candidate: known items that may stand for others ``(n_known,)`` bool.

    Returns:
        ``(n_new, n_known)`` float32, rows of sum 1; a new item without content, or whose content is
        like that of no known item, has no weights.
    """
    candidates = np.flatnonzero(is_candidate & known.any(axis=1))
    parts = [csr_matrix((0, len(known)), dtype=np.float32)]
    for start in range(0, len(new), CHUNK_SIZE):
        chunk = new[start : start + CHUNK_SIZE]
        parts.append(_weigh(chunk @ known[candidates].T, candidates, len(known)))
    return csr_matrix(vstack(parts, format="csr", dtype=np.float32))


def embed_content(
    known: Mapping[str, ItemFeatures], new: Mapping[str, ItemFeatures]
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of known and new items whose products are cosines ``(n_known, d)``, ``(n_new, d)``.

    Modalities are standardized by the known items and put side by side, each with rows of length 1;
    one that an item lacks does not count. An item without content has a zero vector.

    Args:
        known: features of the known items by modality.
        new: features of the new items, of the same modalities.
    """
    parts = [_embed(features, new[name]) for name, features in known.items()]
    both = zip(*parts, strict=True)
    known_rows, new_rows = (_unit(np.concatenate(rows, axis=1)) for rows in both)
    return known_rows, new_rows


def average(values: Tensor, neighbors: csr_matrix) -> Tensor:
    """Mean over the neighbors of each new item, ``(n, n_new)`` float32.

    ``values`` ``(n, n_known)`` are of the known items, ``neighbors`` of
    :func:`find_content_neighbors`.
    """
    mean = neighbors @ values.detach().float().cpu().numpy().T
    return torch.from_numpy(np.ascontiguousarray(mean.T)).to(values.device)


def history_content(rows: csr_matrix, neighbors: csr_matrix) -> Tensor:
    """Weight of the items of each row among the neighbors of each new item, ``(n, n_new)``."""
    return torch.from_numpy((rows @ neighbors.T).astype(np.float32).toarray())


def _embed(known: ItemFeatures, new: ItemFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Standardized features of known and new items, rows of length 1, or 0 without a feature."""
    scaler = FeatureScaler.fit(known.values)
    values = [scaler.transform(features.values) for features in (known, new)]
    if values[0].shape[1] > MAX_DIM:
        axes = orient_axes(principal_axes(values[0], MAX_DIM))
        values = [rows @ axes for rows in values]
    rows = [_unit(rows) for rows in values]
    rows[0][~known.present], rows[1][~new.present] = 0.0, 0.0
    return rows[0], rows[1]


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 1e-12)


def _weigh(cosines: np.ndarray, candidates: np.ndarray, n_known: int) -> csr_matrix:
    """Weights ``(n, n_known)`` from the cosines ``(n, n_candidates)`` to the candidates."""
    likeness = cosines.clip(0.0)
    if likeness.shape[1] > NEIGHBORS:
        cut = np.partition(likeness, -NEIGHBORS, axis=1)[:, -NEIGHBORS, None]
        likeness[likeness < cut] = 0.0
    total = likeness.sum(axis=1, keepdims=True)
    weights = np.divide(likeness, total, out=np.zeros_like(likeness), where=total > 0.0)
    rows, places = weights.nonzero()
    values = weights[rows, places].astype(np.float32)
    return csr_matrix((values, (rows, candidates[places])), shape=(len(cosines), n_known))
