"""Inverse of a large symmetric positive definite matrix, in tiles.

LAPACK's threaded Cholesky factorization (``dpotrf`` of OpenBLAS) crashes the process above about
16,000 columns. Here LAPACK sees one tile at a time; the rest is matrix products of tiles.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import linalg

TILE_SIZE = 2048
"""Rows and columns of a tile; LAPACK is never called with a larger matrix."""


class NotPositiveDefiniteError(ValueError):
    """The matrix has no Cholesky factorization in float64."""


class SymmetricTiles:
    """The lower triangle of a symmetric matrix in float64 tiles: half the memory of the matrix.

    ``tiles[i, j]`` with i ≥ j covers the rows ``spans[i]`` and the columns ``spans[j]``.
    """

    def __init__(self, n: int, tile_size: int = TILE_SIZE) -> None:
        """``n``: rows and columns of the matrix. The tiles are set by the caller."""
        starts = range(0, n, tile_size)
        self.spans = [slice(start, min(start + tile_size, n)) for start in starts]
        self.tiles: dict[tuple[int, int], np.ndarray] = {}

    def positions(self) -> Iterator[tuple[int, int]]:
        """Row and column of every tile."""
        return ((i, j) for i in range(len(self.spans)) for j in range(i + 1))

    def invert(self) -> None:
        """Replace the matrix by its inverse, one block column after the other.

        Block Gauss-Jordan elimination without pivoting (the sweep operator; Goodnight, The
        American Statistician 1979), which is stable for a positive definite matrix. It takes n³
        multiplications and additions, as many as ``dpotrf`` and ``dpotri`` together.

        Raises:
            NotPositiveDefiniteError: the matrix is not positive definite in float64.
        """
        for pivot in range(len(self.spans)):
            self._sweep(pivot)
        for tile in self.tiles.values():
            np.negative(tile, out=tile)

    def _sweep(self, pivot: int) -> None:
        """``A_ij - A_ip A_pp⁻¹ A_pj`` for all others i, j; ``A_ip A_pp⁻¹``; and ``-A_pp⁻¹``."""
        inverse = invert_small(self.tiles[pivot, pivot])
        others = [i for i in range(len(self.spans)) if i != pivot]
        columns = {i: self._column(i, pivot) for i in others}
        for i in others:
            scaled = columns[i] @ inverse
            for j in others:
                if j <= i:
                    self.tiles[i, j] -= scaled @ columns[j].T
            self.tiles[max(i, pivot), min(i, pivot)] = scaled if i > pivot else scaled.T.copy()
        self.tiles[pivot, pivot] = -inverse

    def _column(self, i: int, pivot: int) -> np.ndarray:
        """Tile of row ``i`` in the block column of the pivot, also from above the diagonal."""
        return self.tiles[i, pivot] if i > pivot else self.tiles[pivot, i].T


def invert_small(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric positive definite matrix of at most ``TILE_SIZE`` columns, by LAPACK.

    Raises:
        NotPositiveDefiniteError: the matrix is not positive definite in float64.
    """
    factor, info = linalg.lapack.dpotrf(matrix.T, lower=False)
    inverse, info_inverse = linalg.lapack.dpotri(factor, lower=False, overwrite_c=True)
    if info or info_inverse:
        raise NotPositiveDefiniteError
    upper = np.triu(inverse)
    return upper + np.triu(upper, 1).T
