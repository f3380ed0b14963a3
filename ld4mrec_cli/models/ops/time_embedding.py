"""Sinusoidal embedding of the diffusion step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

MAX_PERIOD = 10_000.0
"""Ratio of the longest to the shortest period (Vaswani et al., 2017)."""


class SinusoidalEmbedding(nn.Module):
    """``[sin(ω_k t), cos(ω_k t)]`` with ``ω_k = 10000^(-2k / dim)``, k = 0 … dim/2 - 1."""

    frequencies: Tensor

    def __init__(self, dim: int, *, cosine_first: bool = False) -> None:
        """``dim``: an even number; ``cosine_first`` puts the cosines before the sines."""
        super().__init__()
        half = dim // 2
        steps = torch.arange(half, dtype=torch.float64)
        frequencies = torch.exp(-math.log(MAX_PERIOD) * steps / half)
        self.register_buffer("frequencies", frequencies.float(), persistent=False)
        self.cosine_first = cosine_first

    def forward(self, t: Tensor) -> Tensor:
        """Embed steps ``t`` ``(n,)`` as ``(n, dim)`` float32."""
        angles = t.unsqueeze(1).float() * self.frequencies
        parts = [angles.sin(), angles.cos()]
        return torch.cat(parts[::-1] if self.cosine_first else parts, dim=1)
