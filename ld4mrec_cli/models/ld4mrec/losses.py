"""Reconstruction losses, per row.

The labels are never dense where they are taken in expectation: what is not a behavior has one and the same
label, so a loss is a reduction of the scores and a correction at the behaviors.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ld4mrec_cli.models.ld4mrec.diffusion import Corrupted, SoftReconstruction
from ld4mrec_cli.models.ops.factored_scores import FactoredScores
from ld4mrec_cli.models.ops.rng import BatchRNG
from ld4mrec_cli.models.ops.sparse_rows import SparseRows

Target = Literal["all", "masked"]


def reconstruction_loss(
    scores: Tensor,
    clean: SparseRows,
    corrupted: Corrupted,
    soft: SoftReconstruction,
    kind: Literal["multinomial", "mse"],
    target: Target,
    rng: BatchRNG,
) -> Tensor:
    """Loss of predicting the clean rows from the corrupted ones, with soft labels.

    Args:
        scores: C-Net's output ``(n, n_items)``.
        target: ``all`` reconstructs the whole row; ``masked`` leaves the entries of unmasked
            behaviors out, so that only what masking dropped is reconstructed.
        rng: of the subset of soft labels, where it is drawn.

    Returns:
        Losses ``(n,)``; that of a row without any label mass should not count.
    """
    targets, ignored = corrupted.targets(clean, target)
    if soft.is_drawn:
        return _dense_loss(scores.float(), targets, ignored, soft, kind, rng)
    if kind == "multinomial":
        return multinomial(scores, targets, ignored, soft.expected)
    return squared(scores.float(), targets, ignored, soft.expected)


def multinomial(
    scores: Tensor,
    targets: SparseRows,
    ignored: SparseRows | None,
    smoothing: float,
    log_inclusion: Tensor | None = None,
    n_counted: Tensor | int | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax cross-entropy over the counted entries, labels ``x + g(1 - 2x)`` normalized to sum to one.

    Args:
        scores: ``(n, m)`` of m items, of all or of candidates.
        targets: behaviors to be found.
        ignored: entries that do not count, or None.
        smoothing: g, the same for all entries.
        log_inclusion: of candidates, the log of the probability of being one ``(m,)``; sums over the
            catalog are then estimated from them.
        n_counted: entries of each row that count, ``(n,)`` or one number; those not left out where None.
        bias: added to the scores ``(m,)``; given apart, it costs no pass over them.
    """
    if ignored is not None:  # of a row that sees every item nothing would be left for the softmax
        ignored = ignored.filter((ignored.counts < ignored.n_items)[ignored.row_of])
    if n_counted is None:
        n_counted = scores.shape[1] if ignored is None else scores.shape[1] - ignored.counts
    weight = 1.0 - 2.0 * smoothing
    mass = (weight * _sum_by_row(targets.values, targets) + smoothing * n_counted).clamp_min(1e-12)
    with torch.autocast(scores.device.type, enabled=False):  # sums over the catalog stay in float32
        return _SoftCrossEntropy.apply(  # type: ignore[no-untyped-call]
            scores,
            bias,
            (targets.row_of, targets.items),
            weight * targets.values / mass[targets.row_of],
            None if ignored is None else (ignored.row_of, ignored.items),
            smoothing / mass if smoothing else None,
            log_inclusion,
        )


class _SoftCrossEntropy(torch.autograd.Function):
    """``log Σ_j exp(s_j)/π_j - Σ_sought w_j s_j - u Σ_j s_j/π_j`` of each row, over the entries not left out.

    π is 1 without candidates, and for what is targets. Written out, since a step spends most of its time on passes
    over the scores: one array holds the logits, then the softmax, then the gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        bias: Tensor | None,
        targets: tuple[Tensor, Tensor],
        weights: Tensor,
        ignored: tuple[Tensor, Tensor] | None,
        uniform: Tensor | None,
        log_inclusion: Tensor | None,
    ) -> Tensor:
        work = torch.add(
            scores,
            0.0 if bias is None else bias,
            out=scores.new_empty(scores.shape, dtype=torch.float32),
        )
        at_targets = work[targets]
        linear = work.new_zeros(len(work)).index_add_(0, targets[0], weights * at_targets)
        inverse = None if log_inclusion is None else log_inclusion.neg().exp()
        if uniform is not None:
            total = work.sum(dim=1) if inverse is None else work @ inverse
            if inverse is not None:
                total.index_add_(0, targets[0], at_targets * (1.0 - inverse[targets[1]]))
            if ignored is not None:
                lost = work[ignored] if inverse is None else work[ignored] * inverse[ignored[1]]
                total.index_add_(0, ignored[0], -lost)
            linear += uniform * total
        if log_inclusion is not None:
            work -= log_inclusion
            work[targets] = at_targets
        if ignored is not None:
            work[ignored] = -torch.inf
        top = work.amax(dim=1, keepdim=True)
        torch.softmax(work, dim=1, out=work)
        log_total = top - work.amax(dim=1, keepdim=True).log()
        ctx.work, ctx.dtype = work, scores.dtype
        ctx.targets, ctx.weights, ctx.ignored = targets, weights, ignored
        ctx.uniform, ctx.inverse = uniform, inverse
        ctx.needs_bias = bias is not None
        return log_total.squeeze(1) - linear

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor | None, None, None, None, None, None]:
        work, ctx.work = ctx.work, None  # the softmax becomes the gradient
        at_targets = -ctx.weights
        if ctx.uniform is not None:
            uniform = ctx.uniform.unsqueeze(1)
            if ctx.inverse is None:
                work.sub_(uniform)
            else:
                work.sub_(uniform * ctx.inverse)
                at_targets = at_targets + ctx.uniform[ctx.targets[0]] * (
                    ctx.inverse[ctx.targets[1]] - 1.0
                )
        work.index_put_(ctx.targets, at_targets, accumulate=True)
        if ctx.ignored is not None:
            work[ctx.ignored] = 0.0
        of_bias = gradients[0] @ work if ctx.needs_bias else None
        weighed = work if ctx.dtype == work.dtype else torch.empty_like(work, dtype=ctx.dtype)
        torch.mul(work, gradients[0].unsqueeze(1), out=weighed)
        return weighed, of_bias, None, None, None, None, None


def squared(
    scores: Tensor, targets: SparseRows, ignored: SparseRows | None, smoothing: float
) -> Tensor:
    """Mean squared error over the counted entries, labels ``x + g(1 - 2x)``; scores are ``(n, n_items)``."""
    off = scores - smoothing if smoothing else scores
    at_ignored = None if ignored is None else off[ignored.row_of, ignored.items]
    at_targets = off[targets.row_of, targets.items]
    return _mean_square(
        off.square().sum(dim=1), at_targets, at_ignored, targets, ignored, smoothing
    )


def squared_in_closed_form(
    products: FactoredScores, targets: SparseRows, ignored: SparseRows | None, smoothing: float
) -> Tensor:
    """:func:`squared` without the scores: their squares are summed through the items' Gram matrix.

    Time and memory follow the behaviors and, once per batch, the items; rows × items there is none.
    """
    products = products.shifted(-smoothing)
    at_ignored = None if ignored is None else products.at(ignored.row_of, ignored.items)
    at_targets = products.at(targets.row_of, targets.items)
    return _mean_square(
        products.sum_of_squares(), at_targets, at_ignored, targets, ignored, smoothing
    )


def _mean_square(
    total: Tensor,
    at_targets: Tensor,
    at_ignored: Tensor | None,
    targets: SparseRows,
    ignored: SparseRows | None,
    smoothing: float,
) -> Tensor:
    """From the sum ``total`` ``(n,)`` of ``(s - g)²`` over the catalog, and ``s - g`` at the behaviors."""
    step = (1.0 - 2.0 * smoothing) * targets.values
    total = total + _sum_by_row(step * (step - 2.0 * at_targets), targets)
    if ignored is None or at_ignored is None:
        return total / targets.n_items
    total = total - _sum_by_row(at_ignored.square(), ignored)
    return total / (ignored.n_items - ignored.counts).clamp_min(1)


def _sum_by_row(values: Tensor, rows: SparseRows) -> Tensor:
    """Sum ``values`` ``(nnz,)`` over the behaviors of each row, ``(n,)``."""
    return values.new_zeros(len(rows)).index_add(0, rows.row_of, values)


def _dense_loss(
    scores: Tensor,
    targets: SparseRows,
    ignored: SparseRows | None,
    soft: SoftReconstruction,
    kind: Literal["multinomial", "mse"],
    rng: BatchRNG,
) -> Tensor:
    """The same with labels that are smoothed on a drawn subset of the entries."""
    counted = torch.ones_like(scores, dtype=torch.bool)
    if ignored is not None:
        counted[ignored.row_of, ignored.items] = False
        counted |= ~counted.any(
            dim=1, keepdim=True
        )  # of a row that sees every item nothing would be left
    y = soft.labels(targets.dense(), rng) * counted
    if kind == "mse":
        return ((scores - y).square() * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1)
    log_total = scores.masked_fill(~counted, -torch.inf).logsumexp(dim=1)
    return log_total - (y * scores).sum(dim=1) / y.sum(dim=1).clamp_min(1e-12)
