"""Do the files of an export give the scores of the model? They are read again and compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.models.ops.sparse_rows import root_weights
from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.serving.export.parts import CNET, EASE, FACTOR, IALS, VECTOR, Parts
from ld4mrec_cli.serving.export.vectors import (
    HISTORY_ITEM,
    ITEMS_FILE,
    USERS_FILE,
    WEIGHT,
    WEIGHTS_FILE,
)
from ld4mrec_cli.utils.errors import OutputFailed

CHECKED_USERS = 32
VECTOR_TOLERANCE, ONNX_TOLERANCE = 1e-5, 1e-4
"""Largest difference from the model's scores, times the largest score where that is above 1."""


def sample_users(known: csr_matrix) -> np.ndarray:
    """Users to compare ``(n,)``, ascending: the shortest and the longest history, and between."""
    order = np.argsort(np.diff(known.indptr), kind="stable")
    places = np.linspace(0, len(order) - 1, min(CHECKED_USERS, len(order))).round().astype(np.int64)
    return np.unique(order[places]).astype(np.int64)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of two arrays, by the largest magnitude of the second if above 1."""
    if not expected.size:
        return 0.0
    difference = np.abs(found.astype(np.float64) - expected).max()
    return float(difference / max(1.0, np.abs(expected).max()))


def check_difference(difference: float, tolerance: float, what: str) -> None:
    """Raise OutputFailed where a difference is too large, or no number."""
    if not difference <= tolerance:
        text = f"the {what} other scores than the model: they differ by {difference:.2g}"
        raise OutputFailed(text, hint="Nothing is written")


def scores_of_parts(
    directory: Path, catalog: Catalog, parts: Parts, users: np.ndarray
) -> np.ndarray:
    """Scores ``(n, n_items)`` of ``users`` ``(n,)`` from the files of an export alone."""
    read = _reader(directory, users)
    if parts.is_inner_product:
        return read(VECTOR)
    by_part: dict[str, np.ndarray] = {}
    if CNET in parts.vectors:
        by_part[CNET] = read(CNET)
        if parts.is_mixture:
            by_part[CNET] = torch.from_numpy(by_part[CNET]).softmax(dim=1).numpy()
    if parts.weights is not None:
        rows = catalog.known[users]
        weights = _read_weights(directory / WEIGHTS_FILE, catalog, np.unique(rows.indices))
        by_part[EASE] = (root_weights(rows) @ weights).toarray()
        if EASE in parts.vectors:
            by_part[EASE] += read(EASE)
    if IALS in parts.vectors:
        by_part[IALS] = read(IALS)
    if parts.is_mixture:
        for name in (EASE, IALS):
            if name in by_part:
                by_part[name] = by_part[name].clip(min=0.0)
    total: np.ndarray = np.sum(list(by_part.values()), axis=0)
    return total if parts.factor is None else total * _read_factor(directory)


def _read_factor(directory: Path) -> np.ndarray:
    """Factor of the score of each item ``(n_items,)``."""
    return pl.read_parquet(directory / ITEMS_FILE, columns=[FACTOR], glob=False)[FACTOR].to_numpy()


def _reader(directory: Path, users: np.ndarray) -> Callable[[str], np.ndarray]:
    """Gives the inner products of a column for ``users``, from both tables."""

    def read(column: str) -> np.ndarray:
        of_users, of_items = (
            pl.read_parquet(directory / name, columns=[column], glob=False)[column]
            for name in (USERS_FILE, ITEMS_FILE)
        )
        vectors: np.ndarray = of_users.gather(users).to_numpy() @ of_items.to_numpy().T
        return vectors

    return read


def _read_weights(path: Path, catalog: Catalog, history: np.ndarray) -> csr_matrix:
    """Item-item weights of a file ``(n_items, n_items)``, in the rows of ``history`` alone."""
    items, n_items = pl.Series(catalog.items.ids, dtype=pl.String), len(catalog.items)
    chosen = pl.col(HISTORY_ITEM).is_in(items.gather(history).implode())
    table = pl.scan_parquet(path, glob=False).filter(chosen).collect()
    index = pl.DataFrame({ITEM: items, "at": np.arange(n_items)})
    rows, columns = (
        table.select(pl.col(name).alias(ITEM)).join(index, on=ITEM, maintain_order="left")["at"]
        for name in (HISTORY_ITEM, ITEM)
    )
    at = rows.to_numpy(), columns.to_numpy()
    return csr_matrix((table[WEIGHT].to_numpy(), at), shape=(n_items, n_items))
