"""Gates and attention that fuse the vectors of several modalities (MGCN, MM 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class BehaviorGate(nn.Module):
    """Lets through the part of the behavior vectors that the content supports."""

    def __init__(self, dim: int, factors: int) -> None:
        """``dim``: columns of the features; ``factors``: length of the vectors."""
        super().__init__()
        self.project = nn.Linear(dim, factors)
        self.gate = nn.Linear(factors, factors)

    def forward(self, items: Tensor, content: Tensor) -> Tensor:
        """Gated ``items`` ``(n, factors)`` by ``content`` ``(n, dim)``: ``(n, factors)``."""
        gated: Tensor = items * torch.sigmoid(self.gate(self.project(content)))
        return gated


class BehaviorAwareFuser(nn.Module):
    """Fuses the views of the modalities: what they share, and of the rest what behavior prefers.

    MGCN's eqs. 7 to 11, GUME's attribute separation.
    """

    def __init__(self, n_views: int, factors: int) -> None:
        super().__init__()
        self.query = nn.Linear(factors, factors)
        self.score = nn.Linear(factors, 1, bias=False)
        self.preferences = nn.ModuleList(nn.Linear(factors, factors) for _ in range(n_views))

    def forward(self, views: Sequence[Tensor], behavior: Tensor) -> Tensor:
        """Side information ``(n, factors)`` of ``views`` and ``behavior``, each of that shape."""
        scores = torch.cat([self.score(torch.tanh(self.query(view))) for view in views], dim=1)
        weights = scores.softmax(dim=1)
        shared = torch.stack(
            [weight.unsqueeze(1) * view for weight, view in zip(weights.T, views, strict=True)]
        ).sum(dim=0)
        total = shared
        for view, preference in zip(views, self.preferences, strict=True):
            total = total + torch.sigmoid(preference(behavior)) * (view - shared)
        return total / (len(views) + 1)
