"""Reconstruction losses, per row.

The labels are never dense where they are taken in expectation: what is not a behaviour has one and the same
label, so a loss is a reduction of the scores and a correction at the behaviours.
"""

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
    scores = scores.float()
    sought = clean if target == "all" else corrupted.destroyed
    left_out = None if target == "all" else _some_left(corrupted.visible)
    if soft.is_drawn:
        return _dense_loss(scores, sought, left_out, soft, kind, generator), sought.counts > 0
    loss = _multinomial if kind == "multinomial" else _squared
    return loss(scores, sought, left_out, soft.expected), sought.counts > 0


def _some_left(visible: Rows) -> Rows:
    """``visible`` without the rows that see every item: nothing would be left for their softmax."""
    return visible.select((visible.counts < visible.n_items)[visible.row_of])


def _multinomial(scores: Tensor, sought: Rows, left_out: Rows | None, smoothing: float) -> Tensor:
    """Softmax cross-entropy over the counted entries, labels ``x + g(1 - 2x)`` normalised to sum to one.

    ``smoothing`` is g, the same for all entries.
    """
    logits, of_all = scores, scores.sum(dim=1) if smoothing else scores.new_zeros(len(scores))
    n_counted = torch.full_like(sought.counts, scores.shape[1])
    if left_out is not None:
        at = (left_out.row_of, left_out.items)
        logits = scores.index_put(at, scores.new_tensor(-torch.inf))
        n_counted = n_counted - left_out.counts
        if smoothing:
            of_all = of_all - _sum_by_row(scores[at], left_out)
    of_sought = _sum_by_row(scores[sought.row_of, sought.items] * sought.values, sought)
    weight = 1.0 - 2.0 * smoothing
    mass = weight * _sum_by_row(sought.values, sought) + smoothing * n_counted
    return logits.logsumexp(dim=1) - (weight * of_sought + smoothing * of_all) / mass.clamp_min(1e-12)


def _squared(scores: Tensor, sought: Rows, left_out: Rows | None, smoothing: float) -> Tensor:
    """Mean squared error over the counted entries, labels ``x + g(1 - 2x)``."""
    off = scores - smoothing if smoothing else scores
    total, n_counted = off.square().sum(dim=1), scores.shape[1]
    at_sought = off[sought.row_of, sought.items]
    step = (1.0 - 2.0 * smoothing) * sought.values
    total = total + _sum_by_row(step * (step - 2.0 * at_sought), sought)
    if left_out is None:
        return total / n_counted
    total = total - _sum_by_row(off[left_out.row_of, left_out.items].square(), left_out)
    return total / (n_counted - left_out.counts).clamp_min(1)


def _sum_by_row(values: Tensor, rows: Rows) -> Tensor:
    """Sum ``values`` ``(nnz,)`` over the behaviours of each row, ``(n,)``."""
    return values.new_zeros(len(rows)).index_add(0, rows.row_of, values)


def _dense_loss(
    scores: Tensor,
    sought: Rows,
    left_out: Rows | None,
    soft: SoftReconstruction,
    kind: Literal["multinomial", "mse"],
    generator: torch.Generator,
) -> Tensor:
    """The same with labels that are smoothed on a drawn subset of the entries."""
    counted = torch.ones_like(scores, dtype=torch.bool)
    if left_out is not None:
        counted[left_out.row_of, left_out.items] = False
    y = soft.labels(sought.dense(), generator) * counted
    if kind == "mse":
        return ((scores - y).square() * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1)
    log_total = scores.masked_fill(~counted, -torch.inf).logsumexp(dim=1)
    return log_total - (y * scores).sum(dim=1) / y.sum(dim=1).clamp_min(1e-12)
