"""Users, items and weights of an export as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.columns import ITEM, USER
from ld4mrec_cli.evaluation.ranking import batches
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.serving.export.parts import EASE, FACTOR, Parts, Weights

USERS_FILE, ITEMS_FILE, WEIGHTS_FILE = "users.parquet", "items.parquet", "weights.parquet"
HISTORY_ITEM, WEIGHT = "history_item", "weight"
HISTORY_VECTOR = f"{EASE}_history"
"""Column of the items' vectors whose sum over a history is the user's vector ``ease``."""
ROWS_AT_A_TIME = 1024


def user_side(scores: FactoredScores) -> np.ndarray:
    """Vectors of the rows ``(n, d)`` float32; the last number is 1 where there is a bias."""
    parts = [part.float() for part in scores.queries]
    if has_bias(scores):
        parts.append(parts[0].new_ones(len(parts[0]), 1))
    return torch.cat(parts, dim=1).cpu().numpy()


def item_side(scores: FactoredScores) -> np.ndarray:
    """Vectors of the items ``(n_items, d)`` float32; the last number is the bias, if any."""
    parts = [part.float() for part in scores.items]
    if has_bias(scores):
        parts.append(scores.bias.float().unsqueeze(1))
    return torch.cat(parts, dim=1).cpu().numpy()


def has_bias(scores: FactoredScores) -> bool:
    """Whether an item has a bias other than 0."""
    return bool(scores.bias.any())


@torch.inference_mode()
def user_vectors(parts: Parts, known: csr_matrix) -> dict[str, np.ndarray]:
    """Vectors ``(n_users, d)`` of the users by name, from histories ``(n_users, n_items)``."""
    users = np.arange(known.shape[0], dtype=np.int64)
    return {
        name: np.concatenate(
            [user_side(factors(known[batch], batch)) for batch in batches(users, ROWS_AT_A_TIME)]
        )
        for name, factors in parts.vectors.items()
    }


@torch.inference_mode()
def item_vectors(parts: Parts, known: csr_matrix) -> dict[str, np.ndarray]:
    """Vectors ``(n_items, d)`` of the items by name; ``known`` as of :func:`user_vectors`."""
    first = known[:1], np.zeros(1, dtype=np.int64)
    vectors = {name: item_side(factors(*first)) for name, factors in parts.vectors.items()}
    if EASE in vectors and parts.weights is not None and parts.weights.left is not None:
        vectors[HISTORY_VECTOR] = parts.weights.left
    return vectors


def vector_table(name: str, ids: Sequence[str], vectors: dict[str, np.ndarray]) -> pl.DataFrame:
    """A row for each raw id, in the order of the run, with vectors as lists of a fixed length."""
    columns = [pl.Series(name, list(ids), dtype=pl.String)]
    columns += [
        pl.Series(key, np.ascontiguousarray(values), dtype=pl.Array(pl.Float32, values.shape[1]))
        for key, values in vectors.items()
    ]
    return pl.DataFrame(columns)


def write_vectors(
    directory: Path, catalog: Catalog, parts: Parts | None
) -> dict[str, dict[str, int]]:
    """Write the tables of users and items; without ``parts``, that of the items' ids alone.

    Returns:
        Length of the vectors by file and column.
    """
    items = {} if parts is None else item_vectors(parts, catalog.known)
    table = vector_table(ITEM, catalog.items.ids, items)
    if parts is not None and parts.factor is not None:
        table = table.with_columns(pl.Series(FACTOR, parts.factor, dtype=pl.Float32))
    table.write_parquet(directory / ITEMS_FILE)
    lengths = {ITEMS_FILE: {name: values.shape[1] for name, values in items.items()}}
    if parts is not None and parts.vectors:
        users = user_vectors(parts, catalog.known)
        vector_table(USER, catalog.users.ids, users).write_parquet(directory / USERS_FILE)
        lengths[USERS_FILE] = {name: values.shape[1] for name, values in users.items()}
    return lengths


def write_weights(path: Path, catalog: Catalog, weights: Weights, neighbors: int) -> int:
    """Write item-item weights as triplets, an item of the history after the other.

    Args:
        path: the file.
        catalog: the ids.
        weights: the weights.
        neighbors: of a dense matrix, the largest weights by magnitude that each item of the history
            keeps; of equal ones, the lower item.

    Returns:
        Number of weights that are left out.
    """
    items = pl.Series(ITEM, catalog.items.ids, dtype=pl.String)
    frames, n_kept, n_nonzero = [], 0, 0
    for rows, columns, values, n_all in _triplets(weights, neighbors):
        named = {HISTORY_ITEM: items.gather(rows), ITEM: items.gather(columns)}
        frames.append(pl.DataFrame({**named, WEIGHT: values.astype(np.float32)}))
        n_kept, n_nonzero = n_kept + len(values), n_nonzero + n_all
    pl.concat(frames).write_parquet(path)
    return n_nonzero - n_kept


def _triplets(
    weights: Weights, neighbors: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Rows, columns, values, and weights before the cut, of some rows at a time."""
    matrix = weights.matrix
    for batch in batches(np.arange(matrix.shape[0]), ROWS_AT_A_TIME):
        if not isinstance(matrix, np.ndarray):
            block = csr_matrix(matrix[batch]).tocoo()
            yield block.row + batch[0], block.col, block.data, block.nnz
            continue
        dense = matrix[batch]
        kept = np.argsort(-np.abs(dense), axis=1, kind="stable")[:, :neighbors]
        kept.sort(axis=1)
        values = np.take_along_axis(dense, kept, axis=1)
        rows = np.repeat(batch, kept.shape[1])
        is_weight = values.ravel() != 0.0
        columns = kept.ravel()[is_weight]
        yield rows[is_weight], columns, values.ravel()[is_weight], int(np.count_nonzero(dense))
