"""Losses of pairs of vectors: ranking (BPR), contrast (InfoNCE) and alignment by the cosine."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ranking_loss(users: Tensor, items: Tensor, others: Tensor) -> Tensor:
    """``-ln σ(p_u · (q_i - q_j))`` of each triple of vectors ``(n, d)``: ``(n,)`` (Rendle 2009)."""
    return F.softplus(-(users * (items - others)).sum(dim=1))


def contrastive_loss(view: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Mean InfoNCE of the rows of two views ``(n, d)``, a scalar.

    A row should be more similar, by cosine, to its own row of the other view than to the rest.
    """
    with torch.autocast(view.device.type, enabled=False):
        view, other = F.normalize(view.float(), dim=1), F.normalize(other.float(), dim=1)
        targets = torch.arange(len(view), device=view.device)
        return F.cross_entropy((view / temperature) @ other.T, targets)


def cosine_loss(online: Tensor, target: Tensor) -> Tensor:
    """``1 - cos`` of the rows of ``online`` and constant ``target`` ``(n, d)``: ``(n,)``."""
    return 1.0 - F.cosine_similarity(online, target.detach(), dim=1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` ``(n,)`` where ``mask`` ``(n,)`` is true; 0 if it is nowhere."""
    return (values * mask).sum() / mask.sum().clamp_min(1)
