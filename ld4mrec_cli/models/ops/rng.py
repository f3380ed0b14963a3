"""Random numbers for the rows of a batch, also where a process has only a part of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchRNG:
    """BatchRNG for the rows from ``first`` on of a batch of ``n_rows``.

    The numbers are those that the rows would get if one process had the whole batch: they are drawn for all rows,
    and those of the other processes are thrown away.
    """

    generator: torch.Generator
    n_rows: int
    first: int = 0

    def bernoulli(self, probability: float, n: int, width: int) -> Tensor:
        """Where an event of the given probability (to 2⁻¹⁶) happens, bool ``(n, width)``."""
        # Four events from each 64 random bits: a third of the time of as many floats.
        count = self.n_rows * width
        bits = torch.empty(-(-count // 4), dtype=torch.int64, device=self.generator.device)
        bits.random_(-(2**63), None, generator=self.generator)
        levels = bits.view(torch.int16)[:count].view(self.n_rows, width)[
            self.first : self.first + n
        ]
        bound = round(probability * 2**16)
        return (
            levels < bound - 2**15 if bound < 2**16 else torch.ones_like(levels, dtype=torch.bool)
        )
