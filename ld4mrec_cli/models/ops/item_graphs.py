"""Graphs of items with similar content; the memory is linear in the edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags

from ld4mrec_cli.models.ops.graphs import normalize_graph
from ld4mrec_cli.models.ops.item_bases import modality_basis

BLOCK_ENTRIES = 2**24
"""Similarities that are held at a time: 64 MB."""


def has_content(features: np.ndarray) -> np.ndarray:
    """Items ``(n_items,)`` whose ``features`` ``(n_items, dim)`` say something about them.

    A row of zeros does not, nor the mean of all rows, which imputed items have.
    """
    values = np.asarray(features, dtype=np.float32)
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    length, distance = (np.linalg.norm(part, axis=1) for part in (values, values - mean))
    return (length > 0.0) & (distance > 1e-6 * length.max(initial=0.0))


def content_features(features: np.ndarray) -> np.ndarray:
    """Standardized features ``(n_items, dim)`` float32, rows of length 1; zero without content."""
    values = modality_basis(features, max_dim=features.shape[1])
    values[~has_content(features)] = 0.0  # a mean that was rounded is not a direction
    return values


def nearest_items(features: np.ndarray, k: int) -> csr_matrix:
    """Cosine similarities ``(n_items, n_items)`` of each item with its ``k`` nearest.

    An item is the nearest of itself. Neighbors have a positive cosine, so rows may have fewer than
    ``k`` entries; those of items without content are empty.

    Args:
        features: ``(n_items, dim)``.
        k: neighbors, the item itself included.
    """
    n_items, ids = len(features), np.flatnonzero(has_content(features))
    vectors = torch.from_numpy(np.asarray(features[ids], dtype=np.float32))
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    parts = [*_nearest_in_blocks(vectors, min(k, len(ids)))] or [(np.empty((0, 0)),) * 3]
    rows, columns, values = (
        np.concatenate([part.ravel() for part in each]) for each in zip(*parts, strict=True)
    )
    kept = values > 0.0
    where = (ids[rows[kept].astype(np.int64)], ids[columns[kept].astype(np.int64)])
    graph = csr_matrix((values[kept].astype(np.float32), where), shape=(n_items, n_items))
    graph.sort_indices()
    return graph


def _nearest_in_blocks(
    vectors: torch.Tensor, k: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Row, column and cosine of the ``k`` nearest of each of ``vectors`` ``(n, dim)``."""
    for rows in torch.arange(len(vectors)).split(max(1, BLOCK_ENTRIES // max(1, len(vectors)))):
        similarity = vectors[rows] @ vectors.T
        similarity[torch.arange(len(rows)), rows] = torch.inf  # itself, before its duplicates
        values, columns = similarity.topk(k, dim=1)
        yield rows[:, None].expand_as(columns).numpy(), columns.numpy(), values.clamp(max=1).numpy()


def add_loops(graph: csr_matrix) -> csr_matrix:
    """Give items without neighbors an edge to themselves, so that they keep their vectors."""
    is_isolated = np.diff(graph.indptr) == 0
    return (graph + diags(is_isolated.astype(np.float32))).tocsr()


def similarity_graph(features: np.ndarray, k: int) -> csr_matrix:
    """Normalized graph of the ``k`` nearest items, weighted by their cosine, with loops.

    Items without content have an edge to themselves alone.
    """
    return normalize_graph(add_loops(nearest_items(features, k)))


def frozen_graph(
    features: Mapping[str, np.ndarray], k: int, weights: Mapping[str, float]
) -> csr_matrix:
    """Weighted sum of the normalized graphs of all modalities (FREEDOM).

    Edges of a modality have no weights. An item without content in some modality has the weights
    of its other modalities scaled up; without any, an edge to itself.

    Args:
        features: modality → item features ``(n_items, dim)``.
        k: neighbors in each modality, the item itself included.
        weights: modality → weight α; modalities that are not named have none.
    """
    total: csr_matrix | None = None
    present = np.zeros(len(next(iter(features.values()))))
    for name, values in features.items():
        if weights.get(name, 0.0) > 0.0:
            graph = nearest_items(values, k)
            graph.data[:] = 1.0
            weighted = normalize_graph(graph) * weights[name]
            total = weighted if total is None else total + weighted
            present += weights[name] * (np.diff(graph.indptr) > 0)
    if total is None:
        total = csr_matrix((len(present), len(present)), dtype=np.float32)
    scale = np.divide(1.0, present, out=np.zeros_like(present), where=present > 0.0)
    return add_loops((diags(scale) @ total).tocsr())


def common_neighbors(features: Mapping[str, np.ndarray], k: int) -> csr_matrix:
    """Edges ``(n_items, n_items)`` to items that are near in every modality (GUME).

    A modality in which an item has no content has no say about the item's neighbors.

    Args:
        features: modality → item features ``(n_items, dim)``.
        k: neighbors in each modality, the item itself included; it has no edge to itself.
    """
    votes, total = np.zeros(len(next(iter(features.values())))), None
    for values in features.values():
        graph = nearest_items(values, k)
        graph.data[:] = 1.0
        votes += np.diff(graph.indptr) > 0
        total = graph if total is None else total + graph
    assert total is not None
    edges = total.tocoo()
    kept = (edges.data == votes[edges.row]) & (edges.row != edges.col)
    where = (edges.row[kept], edges.col[kept])
    return csr_matrix((np.ones(kept.sum(), dtype=np.float32), where), shape=total.shape)
