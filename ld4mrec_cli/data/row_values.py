"""The entries of the rows that a model reads: what an interaction counts in a history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix, diags

from ld4mrec_cli.data.columns import ITEM, TIMESTAMP, USER, WEIGHT

MIN_RECENCY = 2.0**-30
"""Least factor of an old interaction: it stays an entry of the row."""


@dataclass(frozen=True)
class RowValues:
    """How the interactions of a dataset become entries; by default each is 1."""

    mean_weight: float | None = None
    """The entries are the weights of the interactions over this; None: all weigh the same."""
    half_life: float | None = None
    """An entry halves for so many later items of its row; None: old and new count the same."""

    def decay(self, n_later: np.ndarray) -> np.ndarray:
        """Factors in [MIN_RECENCY, 1] of entries with ``n_later`` later items of their row."""
        if self.half_life is None:
            return np.ones(len(n_later))
        return np.maximum(np.exp2(-n_later / self.half_life), MIN_RECENCY)


PLAIN = RowValues()


def to_matrix(
    tables: Sequence[pl.DataFrame], shape: tuple[int, int], values: RowValues = PLAIN
) -> csr_matrix:
    """Return a float32 CSR matrix of tables of internal indices, with sorted indices.

    Tables without weights have entries of 1, the mean; without times, nothing is old. The items of
    a row that have no time are its oldest.
    """
    read = {WEIGHT: values.mean_weight, TIMESTAMP: values.half_life}
    columns = [USER, ITEM]
    columns += [name for name in read if read[name] and all(name in t.columns for t in tables)]
    table = pl.concat([table.select(columns) for table in tables], how="vertical_relaxed")
    users, items = table[USER].to_numpy(), table[ITEM].to_numpy()
    entries: np.ndarray = np.ones(len(users), dtype=np.float32)
    if WEIGHT in columns:
        entries = table[WEIGHT].to_numpy() / values.mean_weight
    if TIMESTAMP in columns:
        entries = entries * values.decay(count_later(users, table[TIMESTAMP]))
    entries = entries.astype(np.float32).clip(min=np.finfo(np.float32).tiny)
    matrix = csr_matrix((entries, (users, items)), shape=shape)
    matrix.sum_duplicates()
    if values == PLAIN:
        matrix.data[:] = 1.0
    return matrix


def add_newer(known: csr_matrix, newer: csr_matrix, values: RowValues = PLAIN) -> csr_matrix:
    """Rows of known interactions ``(n, n_items)`` with newer ones, whose entries are as they are.

    Newer items that are not known make the known ones older. Of an item that is both, the larger
    entry counts.
    """
    n_new = newer.getnnz(axis=1) - newer.multiply(known.astype(bool)).getnnz(axis=1)
    aged = diags(values.decay(n_new).astype(np.float32)) @ known
    rows = csr_matrix(csr_matrix(aged).maximum(newer))
    rows.sort_indices()
    return rows


def age_again(rows: csr_matrix, plain: csr_matrix, values: RowValues) -> csr_matrix:
    """Let rows fade anew after items have left them.

    Args:
        rows: faded entries ``(n, n_items)``, which tell the order of the items.
        plain: the same rows before they faded, with the same indices.
        values: as ``rows`` has faded, with a half-life.
    """
    assert values.half_life is not None
    row_of = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    n_later_before = np.rint(-np.log2(rows.data / plain.data) * values.half_life)
    n_later = count_later(row_of, pl.Series(-n_later_before))
    entries = (plain.data * values.decay(n_later)).astype(np.float32)
    return csr_matrix((entries, rows.indices, rows.indptr), shape=rows.shape)


def count_later(rows: np.ndarray, times: pl.Series) -> np.ndarray:
    """Entries of the same row with a later time, of each entry: ``(n,)`` int64.

    Equal times are not later than each other; a missing time is earlier than all.

    Args:
        rows: row of each entry ``(n,)``.
        times: its time ``(n,)``, a number.
    """
    ranks = times.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    order = np.lexsort((-ranks, rows))
    rows, ranks = rows[order], ranks[order]
    place = np.arange(len(rows))
    is_first = np.ones(len(rows), dtype=bool)  # of its row
    is_first[1:] = rows[1:] != rows[:-1]
    is_new_time = is_first.copy()
    is_new_time[1:] |= ranks[1:] != ranks[:-1]
    row_start = np.maximum.accumulate(np.where(is_first, place, 0))
    time_start = np.maximum.accumulate(np.where(is_new_time, place, 0))
    n_later = np.empty(len(rows), dtype=np.int64)
    n_later[order] = time_start - row_start
    return n_later
