"""The known items that stand for new ones, as named arrays of a run."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from ld4mrec_cli.runs.checks import check_numbers
from ld4mrec_cli.runs.run_directory import NEW_ITEMS, RunDirectory
from ld4mrec_cli.utils.errors import RunError

PARTS = ("data", "indices", "indptr")


def neighbors_to_arrays(neighbors: csr_matrix) -> dict[str, np.ndarray]:
    """Name the arrays of neighbors ``(n_new, n_known)``."""
    types = dict(zip(PARTS, (np.float32, np.int64, np.int64), strict=True))
    return {name: getattr(neighbors, name).astype(dtype) for name, dtype in types.items()}


def load_neighbors(run: RunDirectory) -> csr_matrix:
    """Neighbors ``(n_new, n_known)`` of an extended run. Raises RunError where they are damaged."""
    path, new = run.path / NEW_ITEMS, run.manifest.new_items
    assert new is not None
    tensors = run.load_tensors(NEW_ITEMS)
    check_numbers(tensors, path)
    try:
        parts = tuple(tensors[name].numpy() for name in PARTS)
        neighbors = csr_matrix(parts, shape=(new.count, run.manifest.dataset.n_items))
        neighbors.check_format(full_check=True)  # a product with a bad index reads foreign memory
    except (KeyError, ValueError, TypeError):
        raise RunError("does not hold the new items of this run", where=path) from None
    return neighbors
