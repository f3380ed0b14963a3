"""Reconstruction losses, per row."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ld4mrec_cli.model.diffusion import Corrupted, SoftReconstruction
from ld4mrec_cli.model.rows import Rows


def reconstruction_loss(
    scores: Tensor,
    clean: Rows,
    corrupted: Corrupted,
    soft: SoftReconstruction,
    kind: Literal["multinomial", "mse"],
    target: Literal["all", "destroyed"],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Loss of predicting the clean rows from the corrupted ones, with soft labels.

    Args:
        scores: C-Net's output ``(n, n_items)``.
        target: ``all`` reconstructs the whole row; ``destroyed`` leaves the entries of visible
            behaviours out, so that only what masking dropped is reconstructed.

    Returns:
        Losses ``(n,)``, and which rows count ``(n,)`` bool: a row without any label mass does not.
    """
    n, n_items = scores.shape
    scores = scores.float()
    counted = None
    if target == "destroyed":
        counted = torch.ones(n, n_items, dtype=torch.bool, device=scores.device)
        counted[corrupted.visible.row_of, corrupted.visible.items] = False
    x = (clean if target == "all" else corrupted.destroyed).dense()
    has_target = x.sum(dim=1) > 0
    if counted is not None:
        counted |= ~counted.any(dim=1, keepdim=True)  # a row that sees every item has nothing left for the softmax
    y = soft.labels(x, soft.subset(n, n_items, generator))
    if kind == "multinomial":
        return _multinomial(scores, y, counted), has_target
    return _squared(scores, y, counted), has_target


def _multinomial(scores: Tensor, y: Tensor, counted: Tensor | None) -> Tensor:
    """Softmax cross-entropy over the counted entries with labels normalised to sum to one."""
    logits = scores
    if counted is not None:
        logits = scores.masked_fill(~counted, -torch.inf)
        y = y * counted
    log_total = logits.logsumexp(dim=1)
    mass = y.sum(dim=1).clamp_min(1e-12)
    return log_total - (y * scores).sum(dim=1) / mass


def _squared(scores: Tensor, y: Tensor, counted: Tensor | None) -> Tensor:
    """Mean squared error over the counted entries."""
    squares = (scores - y).square()
    if counted is None:
        return squares.mean(dim=1)
    return (squares * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1)
