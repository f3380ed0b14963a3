"""What the weights of a run have learned: its training data, and that of runs it started from."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.checks import read_interactions
from ld4mrec_cli.data.columns import ITEM, USER
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.row_values import to_matrix
from ld4mrec_cli.data.splits import SPLITS, Split
from ld4mrec_cli.runs.catalog import Catalog
from ld4mrec_cli.runs.id_map import IdMap, subtract
from ld4mrec_cli.runs.manifest import Manifest
from ld4mrec_cli.runs.run_directory import INHERITED, RunDirectory
from ld4mrec_cli.utils.errors import RunError


def training_splits(manifest: Manifest) -> tuple[Split, ...]:
    """The splits that a run was trained on: a refit on all."""
    return tuple(SPLITS) if manifest.refit_of is not None else (Split.TRAIN,)


def inherited_interactions(run: RunDirectory) -> csr_matrix:
    """What a run learned from the run it started from, beside its own training data.

    Returns:
        ``(n_users, n_items)`` of the run; empty where it started anew.
    """
    shape = (run.manifest.dataset.n_users, run.n_items)
    if INHERITED not in run.manifest.files:
        return csr_matrix(shape, dtype=np.float32)
    return to_matrix([read_interactions(run.verified_path(INHERITED), shape, RunError)], shape)


def learned_interactions(run: RunDirectory, catalog: Catalog) -> csr_matrix:
    """All that the weights of a run have learned from, ``(n_users, n_items)`` of the run."""
    own = catalog.interactions(*training_splits(run.manifest))
    return csr_matrix(own.maximum(inherited_interactions(run)))


def map_run(catalog: Catalog, dataset: Dataset) -> IdMap:
    """Where the users and items of a run are in a dataset."""
    users, items = dataset.users.find(catalog.users.ids), dataset.items.find(catalog.items.ids)
    return IdMap(users, items, dataset.shape)


def inherited_by(run: RunDirectory, dataset: Dataset, splits: tuple[Split, ...]) -> csr_matrix:
    """What a training on ``splits`` of a dataset inherits when it starts from ``run``.

    Returns:
        ``(n_users, n_items)`` of the dataset, without what is in ``splits``.
    """
    catalog = Catalog(run, "train")
    learned = map_run(catalog, dataset).move(learned_interactions(run, catalog))
    return subtract(learned, dataset.matrix(*splits))


def as_table(matrix: csr_matrix) -> pl.DataFrame:
    """The entries of a matrix as a table of indices."""
    entries = matrix.tocoo()
    columns = {USER: entries.row.astype(np.uint32), ITEM: entries.col.astype(np.uint32)}
    return pl.DataFrame(columns)
