"""Random numbers for the rows of a batch, and dropout that draws from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchRNG:
    """Random numbers for consecutive rows of a batch of ``n_rows``, starting at row ``first``.

    Each process draws the numbers of the whole batch and uses those of its own rows. So a row gets
    the same numbers with one process and with several.
    """

    generator: torch.Generator
    n_rows: int
    first: int = 0

    def bernoulli(self, probability: float, n: int, width: int) -> Tensor:
        """Mask ``(n, width)``, bool, each entry true with ``probability`` (rounded to 2⁻¹⁶)."""
        # Each 64 random bits make four entries: a third of the time of as many floats.
        count = self.n_rows * width
        bits = torch.empty(-(-count // 4), dtype=torch.int64, device=self.generator.device)
        bits.random_(-(2**63), None, generator=self.generator)
        levels = bits.view(torch.int16)[:count].view(self.n_rows, width)
        levels = levels[self.first : self.first + n]
        bound = round(probability * 2**16)
        if bound == 2**16:  # 2¹⁵ does not fit into int16
            return torch.ones_like(levels, dtype=torch.bool)
        return levels < bound - 2**15


def dropout(x: Tensor, rate: float, rng: BatchRNG | None) -> Tensor:
    """Inverted dropout of ``x`` ``(n, width)``; without ``rng``, or at rate 0, ``x`` itself."""
    if rng is None or rate == 0.0:
        return x
    mask = rng.bernoulli(1.0 - rate, *x.shape).to(x.dtype)
    return (x * mask).mul_(1.0 / (1.0 - rate))  # in bf16, the scaled mask would be rounded
