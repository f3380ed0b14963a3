"""Random numbers for the rows of a batch, also where a process has only a part of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Draws for the rows from ``first`` on of a batch of ``n_rows``.

    The numbers are those that the rows would get if one process had the whole batch: they are drawn for all rows,
    and those of the other processes are thrown away.
    """

    generator: torch.Generator
    n_rows: int
    first: int = 0

    def uniform(self, n: int, width: int) -> Tensor:
        """Numbers between 0 and 1, ``(n, width)``."""
        device = self.generator.device
        return torch.rand(self.n_rows, width, generator=self.generator, device=device)[self.first : self.first + n]
