from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.batches import RowBatches, RowStore
from ld4mrec_cli.models.ops.sparse_rows import SparseRows


@given(seed=st.integers(0, 1000), n=st.integers(0, 12))
def test_rows_gathered_on_the_device_are_those_of_the_matrix(seed, n):
    rng = np.random.default_rng(seed)
    matrix = csr_matrix((rng.random((9, 14)) < 0.3).astype(np.float32))
    row_ids = rng.integers(0, 9, n)
    actual, expected = (
        RowStore(matrix, torch.device("cpu")).rows(row_ids),
        SparseRows.from_csr(matrix[row_ids]),
    )
    for name in ("items", "values", "counts"):
        assert torch.equal(getattr(actual, name), getattr(expected, name)), name
    assert actual.n_items == expected.n_items


def test_an_epoch_has_every_user_with_interactions_once():
    matrix = csr_matrix(np.diag([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]).astype(np.float32))
    batches = RowBatches(matrix, 2)
    epochs = [list(batches.epoch(np.random.default_rng(n), torch.device("cpu"))) for n in range(2)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [2, 2, 1]
        assert sorted(torch.cat([batch.items for batch in epoch]).tolist()) == [0, 2, 3, 5, 6]
    assert not all(torch.equal(a.items, b.items) for a, b in zip(*epochs, strict=True))
