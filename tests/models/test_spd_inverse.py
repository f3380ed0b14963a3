"""The tiled inverse: against NumPy on small matrices, and EASE on a large catalog."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ops import ridge, spd_inverse
from ld4mrec_cli.models.ops.ridge import fit_ease
from ld4mrec_cli.models.ops.spd_inverse import (
    NotPositiveDefiniteError,
    SymmetricTiles,
    invert_small,
)


def positive_definite(n: int) -> np.ndarray:
    factor = np.random.default_rng(n).normal(size=(n, n))
    return factor @ factor.T + np.eye(n)


def tiles_of(matrix: np.ndarray, tile_size: int) -> SymmetricTiles:
    tiles = SymmetricTiles(len(matrix), tile_size)
    for i, j in tiles.positions():
        tiles.tiles[i, j] = matrix[tiles.spans[i], tiles.spans[j]].copy()
    return tiles


@pytest.mark.parametrize("n", [1, 5, 12, 13, 30])
@pytest.mark.parametrize("tile_size", [1, 4, 6, 64])
def test_the_inverse_is_that_of_numpy(n, tile_size):
    matrix = positive_definite(n)
    tiles = tiles_of(matrix, tile_size)
    tiles.invert()
    expected = np.linalg.inv(matrix)
    assert len(tiles.tiles) == len(list(tiles.positions()))
    for i, j in tiles.positions():
        assert_allclose(
            tiles.tiles[i, j], expected[tiles.spans[i], tiles.spans[j]], rtol=1e-9, atol=1e-12
        )


def test_lapack_sees_a_tile_at_most(monkeypatch):
    """``dpotrf`` of some 17,000 rows ends the process with a segmentation fault."""
    sizes = []

    def record(matrix):
        sizes.append(len(matrix))
        return invert_small(matrix)

    monkeypatch.setattr(spd_inverse, "invert_small", record)
    tiles_of(positive_definite(30), 12).invert()
    assert sorted(sizes) == [6, 12, 12]
    assert spd_inverse.TILE_SIZE <= 4096, "far below the size that crashes"


def test_the_inverse_of_a_tile_is_symmetric():
    inverse = invert_small(positive_definite(20))
    assert np.array_equal(inverse, inverse.T)
    assert_allclose(inverse @ positive_definite(20), np.eye(20), atol=1e-9)


@pytest.mark.parametrize("tile_size", [2, 3, 8])
def test_a_matrix_that_is_not_positive_definite_is_refused(tile_size):
    matrix = positive_definite(6)
    matrix[5, 5] = -1.0
    with pytest.raises(NotPositiveDefiniteError):
        tiles_of(matrix, tile_size).invert()


@pytest.mark.parametrize("tile_size", [3, 7, 40, 100])
@pytest.mark.parametrize(("degree_ridge", "user_exponent"), [(0.0, 0.0), (1.5, 0.5)])
def test_ease_in_tiles_agrees_with_numpy(monkeypatch, tile_size, degree_ridge, user_exponent):
    monkeypatch.setattr(SymmetricTiles.__init__, "__defaults__", (tile_size,))
    dense = (np.random.default_rng(0).random((60, 40)) < 0.2).astype(np.float64)
    train = csr_matrix(dense.astype(np.float32))
    degree = dense.sum(axis=1)
    weight = np.maximum(degree, 1.0) ** -user_exponent
    weight *= degree.sum() / (weight @ degree)
    gram = dense.T @ (weight[:, None] * dense)
    content = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    ridge = np.diag(2.0 + degree_ridge * gram.diagonal())
    precision = np.linalg.inv(gram + content @ content.T + ridge)
    expected = np.eye(40) - precision / precision.diagonal()
    weights = fit_ease(train, 2.0, degree_ridge, user_exponent, content)
    assert weights.dtype == np.float32
    assert weights.flags.c_contiguous
    assert_allclose(weights, expected, atol=1e-6)


def test_lapack_never_sees_more_than_a_tile(monkeypatch):
    """OpenBLAS's threaded ``dpotrf`` writes past its buffer on large matrices."""
    monkeypatch.setattr(SymmetricTiles.__init__, "__defaults__", (16,))
    sizes = []

    def record(matrix: np.ndarray) -> np.ndarray:
        sizes.append(matrix.shape)
        return invert_small(matrix)

    monkeypatch.setattr(spd_inverse, "invert_small", record)
    fit_ease(csr_matrix(np.eye(50, dtype=np.float32)), 1.0)
    assert sizes == [(16, 16)] * 3 + [(2, 2)]


LARGE = """
import numpy as np
from scipy.sparse import csr_matrix
from ld4mrec_cli.models.ops.ridge import fit_ease
from ld4mrec_cli.utils.memory import peak_memory_mb

n_users, n_items, ridge = 20_000, 6_200, 50.0  # the last tile is a small one
rng = np.random.default_rng(0)
items = (n_items * rng.random((n_users, 12)) ** 2).astype(np.int64)
users = np.repeat(np.arange(n_users), 12)
train = csr_matrix((np.ones(users.size, np.float32), (users, items.ravel())), (n_users, n_items))
train.data[:] = 1.0  # an item drawn twice counts once
weights = fit_ease(train, ridge)
gram = (train.T @ train).tocsc().astype(np.float64)
for item in (0, 2047, 2048, 5_000, 6_199):
    column = weights[:, item].astype(np.float64)
    residual = gram @ column + ridge * column - gram[:, [item]].toarray().ravel()
    residual[item] = 0.0  # the zero diagonal is a constraint, not a target
    assert np.abs(residual).max() < 1e-4, (item, np.abs(residual).max())
assert np.abs(weights).max() > 0.01
print(peak_memory_mb())
"""


@pytest.mark.slow
def test_ease_solves_several_tiles_with_two_threads():
    """The result and the memory of a catalog of several tiles, in a process of its own."""
    threads = {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    completed = subprocess.run(
        [sys.executable, "-c", LARGE],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    peak = float(completed.stdout) * 2**20
    assert peak < 1.25 * ridge.BYTES_PER_ITEM_PAIR * 6_200**2 + 4e8
