"""Reconstruction losses, per row.

The labels are never dense where they are taken in expectation: what is not a behaviour has one and the same
label, so a loss is a reduction of the scores and a correction at the behaviours.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ld4mrec_cli.model.diffusion import Corrupted, SoftReconstruction
from ld4mrec_cli.model.draws import Draws
from ld4mrec_cli.model.inner_products import InnerProducts
from ld4mrec_cli.model.rows import Rows

Target = Literal["all", "destroyed"]


def reconstruction_loss(
    scores: Tensor,
    clean: Rows,
    corrupted: Corrupted,
    soft: SoftReconstruction,
    kind: Literal["multinomial", "mse"],
    target: Target,
    draws: Draws,
) -> Tensor:
    """Loss of predicting the clean rows from the corrupted ones, with soft labels.

    Args:
        scores: C-Net's output ``(n, n_items)``.
        target: ``all`` reconstructs the whole row; ``destroyed`` leaves the entries of visible
            behaviours out, so that only what masking dropped is reconstructed.
        draws: of the subset of soft labels, where it is drawn.

    Returns:
        Losses ``(n,)``; that of a row without any label mass should not count.
    """
    sought, left_out = corrupted.sought(clean, target)
    if soft.is_drawn:
        return _dense_loss(scores.float(), sought, left_out, soft, kind, draws)
    if kind == "multinomial":
        return multinomial(scores, sought, left_out, soft.expected)
    return squared(scores.float(), sought, left_out, soft.expected)


def multinomial(
    scores: Tensor,
    sought: Rows,
    left_out: Rows | None,
    smoothing: float,
    log_inclusion: Tensor | None = None,
    n_counted: Tensor | int | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax cross-entropy over the counted entries, labels ``x + g(1 - 2x)`` normalised to sum to one.

    Args:
        scores: ``(n, m)`` of m items, of all or of candidates.
        sought: behaviours to be found.
        left_out: entries that do not count, or None.
        smoothing: g, the same for all entries.
        log_inclusion: of candidates, the log of the probability of being one ``(m,)``; sums over the
            catalogue are then estimated from them.
        n_counted: entries of each row that count, ``(n,)`` or one number; those not left out where None.
        bias: added to the scores ``(m,)``; given apart, it costs no pass over them.
    """
    if left_out is not None:  # of a row that sees every item nothing would be left for the softmax
        left_out = left_out.select((left_out.counts < left_out.n_items)[left_out.row_of])
    if n_counted is None:
        n_counted = scores.shape[1] if left_out is None else scores.shape[1] - left_out.counts
    weight = 1.0 - 2.0 * smoothing
    mass = (weight * _sum_by_row(sought.values, sought) + smoothing * n_counted).clamp_min(1e-12)
    with torch.autocast(scores.device.type, enabled=False):  # sums over the catalogue stay in float32
        return _SoftCrossEntropy.apply(  # type: ignore[no-untyped-call]
            scores,
            bias,
            (sought.row_of, sought.items),
            weight * sought.values / mass[sought.row_of],
            None if left_out is None else (left_out.row_of, left_out.items),
            smoothing / mass if smoothing else None,
            log_inclusion,
        )


class _SoftCrossEntropy(torch.autograd.Function):
    """``log Σ_j exp(s_j)/π_j - Σ_sought w_j s_j - u Σ_j s_j/π_j`` of each row, over the entries not left out.

    π is 1 without candidates, and for what is sought. Written out, since a step spends most of its time on passes
    over the scores: one array holds the logits, then the softmax, then the gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        bias: Tensor | None,
        sought: tuple[Tensor, Tensor],
        weights: Tensor,
        left_out: tuple[Tensor, Tensor] | None,
        uniform: Tensor | None,
        log_inclusion: Tensor | None,
    ) -> Tensor:
        work = torch.add(scores, 0.0 if bias is None else bias, out=scores.new_empty(scores.shape, dtype=torch.float32))
        at_sought = work[sought]
        linear = work.new_zeros(len(work)).index_add_(0, sought[0], weights * at_sought)
        inverse = None if log_inclusion is None else log_inclusion.neg().exp()
        if uniform is not None:
            total = work.sum(dim=1) if inverse is None else work @ inverse
            if inverse is not None:
                total.index_add_(0, sought[0], at_sought * (1.0 - inverse[sought[1]]))
            if left_out is not None:
                lost = work[left_out] if inverse is None else work[left_out] * inverse[left_out[1]]
                total.index_add_(0, left_out[0], -lost)
            linear += uniform * total
        if log_inclusion is not None:
            work -= log_inclusion
            work[sought] = at_sought
        if left_out is not None:
            work[left_out] = -torch.inf
        top = work.amax(dim=1, keepdim=True)
        torch.softmax(work, dim=1, out=work)
        log_total = top - work.amax(dim=1, keepdim=True).log()
        ctx.work, ctx.dtype = work, scores.dtype
        ctx.sought, ctx.weights, ctx.left_out = sought, weights, left_out
        ctx.uniform, ctx.inverse = uniform, inverse
        ctx.needs_bias = bias is not None
        return log_total.squeeze(1) - linear

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None, None, None, None, None]:
        work, ctx.work = ctx.work, None  # the softmax becomes the gradient
        at_sought = -ctx.weights
        if ctx.uniform is not None:
            uniform = ctx.uniform.unsqueeze(1)
            if ctx.inverse is None:
                work.sub_(uniform)
            else:
                work.sub_(uniform * ctx.inverse)
                at_sought = at_sought + ctx.uniform[ctx.sought[0]] * (ctx.inverse[ctx.sought[1]] - 1.0)
        work.index_put_(ctx.sought, at_sought, accumulate=True)
        if ctx.left_out is not None:
            work[ctx.left_out] = 0.0
        of_bias = gradients[0] @ work if ctx.needs_bias else None
        weighed = work if ctx.dtype == work.dtype else torch.empty_like(work, dtype=ctx.dtype)
        torch.mul(work, gradients[0].unsqueeze(1), out=weighed)
        return weighed, of_bias, None, None, None, None, None


def squared(scores: Tensor, sought: Rows, left_out: Rows | None, smoothing: float) -> Tensor:
    """Mean squared error over the counted entries, labels ``x + g(1 - 2x)``; scores are ``(n, n_items)``."""
    off = scores - smoothing if smoothing else scores
    at_left_out = None if left_out is None else off[left_out.row_of, left_out.items]
    at_sought = off[sought.row_of, sought.items]
    return _mean_square(off.square().sum(dim=1), at_sought, at_left_out, sought, left_out, smoothing)


def squared_in_closed_form(products: InnerProducts, sought: Rows, left_out: Rows | None, smoothing: float) -> Tensor:
    """:func:`squared` without the scores: their squares are summed through the items' Gram matrix.

    Time and memory follow the behaviours and, once per batch, the items; rows × items there is none.
    """
    products = products.shifted(-smoothing)
    at_left_out = None if left_out is None else products.at(left_out.row_of, left_out.items)
    at_sought = products.at(sought.row_of, sought.items)
    return _mean_square(products.sum_of_squares(), at_sought, at_left_out, sought, left_out, smoothing)


def _mean_square(
    total: Tensor,
    at_sought: Tensor,
    at_left_out: Tensor | None,
    sought: Rows,
    left_out: Rows | None,
    smoothing: float,
) -> Tensor:
    """From the sum ``total`` ``(n,)`` of ``(s - g)²`` over the catalogue, and ``s - g`` at the behaviours."""
    step = (1.0 - 2.0 * smoothing) * sought.values
    total = total + _sum_by_row(step * (step - 2.0 * at_sought), sought)
    if left_out is None or at_left_out is None:
        return total / sought.n_items
    total = total - _sum_by_row(at_left_out.square(), left_out)
    return total / (left_out.n_items - left_out.counts).clamp_min(1)


def _sum_by_row(values: Tensor, rows: Rows) -> Tensor:
    """Sum ``values`` ``(nnz,)`` over the behaviours of each row, ``(n,)``."""
    return values.new_zeros(len(rows)).index_add(0, rows.row_of, values)


def _dense_loss(
    scores: Tensor,
    sought: Rows,
    left_out: Rows | None,
    soft: SoftReconstruction,
    kind: Literal["multinomial", "mse"],
    draws: Draws,
) -> Tensor:
    """The same with labels that are smoothed on a drawn subset of the entries."""
    counted = torch.ones_like(scores, dtype=torch.bool)
    if left_out is not None:
        counted[left_out.row_of, left_out.items] = False
        counted |= ~counted.any(dim=1, keepdim=True)  # of a row that sees every item nothing would be left
    y = soft.labels(sought.dense(), draws) * counted
    if kind == "mse":
        return ((scores - y).square() * counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1)
    log_total = scores.masked_fill(~counted, -torch.inf).logsumexp(dim=1)
    return log_total - (y * scores).sum(dim=1) / y.sum(dim=1).clamp_min(1e-12)
