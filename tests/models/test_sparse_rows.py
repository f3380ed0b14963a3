from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ops.sparse_rows import SparseRows, l2_normalize


@st.composite
def dense_rows(draw: st.DrawFn) -> np.ndarray:
    n, n_items = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    density = draw(st.sampled_from([0.0, 0.3, 1.0]))
    return ((rng.random((n, n_items)) < density) * rng.normal(size=(n, n_items))).astype(np.float32)


def rows_of(dense: np.ndarray, noise: torch.Tensor | None = None) -> SparseRows:
    rows = SparseRows.from_csr(csr_matrix(dense))
    return SparseRows(rows.items, rows.values, rows.counts, rows.n_items, noise)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
@given(dense=dense_rows(), seed=st.integers(0, 100))
def test_project_equals_the_dense_product(noisy, scaled, dense, seed):
    generator = torch.Generator().manual_seed(seed)
    n, n_items = dense.shape
    noise = torch.randn(n, n_items, generator=generator) if noisy else None
    scale = torch.rand(n_items, generator=generator) if scaled else None
    matrix = torch.randn(n_items, 3, generator=generator)
    full = torch.from_numpy(dense) + (noise if noisy else 0.0)
    expected = (full if scale is None else full * scale) @ matrix
    torch.testing.assert_close(
        rows_of(dense, noise).matmul(matrix, scale), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("noisy", [False, True])
@given(dense=dense_rows())
def test_dense_and_norm_are_those_of_behaviors_plus_noise(noisy, dense):
    noise = torch.linspace(-1, 1, dense.size).view(dense.shape) if noisy else None
    rows = rows_of(dense, noise)
    full = torch.from_numpy(dense) + (noise if noisy else 0.0)
    torch.testing.assert_close(rows.dense(), full)
    torch.testing.assert_close(rows.norm(), full.norm(dim=1, keepdim=True))
    assert len(rows) == len(dense)


@given(dense=dense_rows(), seed=st.integers(0, 100))
def test_select_keeps_the_chosen_behaviors(dense, seed):
    rows = rows_of(dense)
    mask = torch.from_numpy(np.random.default_rng(seed).random(len(rows.items)) < 0.5)
    expected = torch.zeros(dense.shape)
    expected[rows.row_of[mask], rows.items[mask]] = rows.values[mask]
    torch.testing.assert_close(rows.filter(mask).dense(), expected)
    torch.testing.assert_close(rows.filter(mask).dense() + rows.filter(~mask).dense(), rows.dense())


def test_dense_does_not_write_into_the_noise():
    noise = torch.zeros(1, 3)
    rows_of(np.ones((1, 3), dtype=np.float32), noise).dense()
    assert noise.tolist() == [[0.0, 0.0, 0.0]]


def test_unit_scales_rows_to_length_one_and_leaves_zero_rows():
    actual = l2_normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(actual, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
