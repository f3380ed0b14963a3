"""Interactions of a newer dataset, in the indices of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import polars as pl
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.columns import ITEM, USER
from ld4mrec_cli.data.dataset import UNKNOWN, Dataset, to_matrix
from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.utils.errors import DatasetError

ALL_KNOWN: Final = "all"


def new_interactions(
    run: RunDirectory, dataset: Dataset, split: str, on_note: Callable[[str], None]
) -> tuple[csr_matrix, csr_matrix]:
    """What a run knows, and what is new to it in a split of another dataset.

    Users and items are matched by their raw ids.

    Returns:
        Known and new interactions, each ``(n_users, n_items)`` of the run.

    Raises:
        DatasetError: nothing in the split is new to the run.
    """
    catalog = Catalog(run, ALL_KNOWN)
    table = dataset.interactions(split)
    users = catalog.users.find(dataset.users.ids)[table[USER].to_numpy()]
    items = catalog.items.find(dataset.items.ids)[table[ITEM].to_numpy()]
    is_matched = (users != UNKNOWN) & (items != UNKNOWN)
    pairs = pl.DataFrame({USER: users[is_matched], ITEM: items[is_matched]})
    known, found = catalog.known, to_matrix(pairs, catalog.shape)
    new = (found - found.multiply(known)).tocsr()
    new.eliminate_zeros()
    new.sort_indices()
    counts = {
        "of users or items that the run does not know": int((~is_matched).sum()),
        "that the run knows": found.nnz - new.nnz,
    }
    left_out = [f"{count:,} {what}" for what, count in counts.items() if count]
    if not new.nnz:
        raise DatasetError(
            f"the {split} split has no interaction that is new to {run.path}",
            where=dataset.directory,
        )
    if left_out:
        on_note(f"left out of the {len(table):,} interactions: {', '.join(left_out)}")
    return known, new
