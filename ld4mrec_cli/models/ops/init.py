"""Initial weights, drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


@torch.no_grad()
def init_normal(model: nn.Module, seed: int, std: float = 0.1) -> None:
    """Draw the matrices of a model from ``N(0, std²)``; vectors do not change."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            nn.init.normal_(parameter, std=std, generator=generator)


@torch.no_grad()
def init_xavier(model: nn.Module, seed: int) -> None:
    """Draw the matrices of a model by Xavier initialization; vectors become zero."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            nn.init.xavier_normal_(parameter, generator=generator)
        else:
            nn.init.zeros_(parameter)


@torch.no_grad()
def init_biases(layers: Iterable[nn.Module], seed: int) -> None:
    """Draw the biases of linear ``layers`` from ``U(-1/√n, 1/√n)`` for n inputs, as torch does."""
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
