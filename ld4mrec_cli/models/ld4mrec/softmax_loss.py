"""Softmax cross-entropy with soft labels, over the catalog or over candidates, in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ld4mrec_cli.models.ops.sparse_rows import SparseRows


def multinomial(
    scores: Tensor,
    targets: SparseRows,
    ignored: SparseRows | None,
    smoothing: float,
    log_inclusion: Tensor | None = None,
    n_counted: Tensor | int | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax cross-entropy per row, labels ``x + g(1 - 2x)`` normalized to sum to one.

    Args:
        scores: ``(n, m)`` of m items: the catalog, or candidates.
        targets: behaviors to predict.
        ignored: entries that do not count, or None.
        smoothing: g, the same for all entries.
        log_inclusion: log of the inclusion probability of each candidate ``(m,)``; sums over the
            catalog are estimated from the candidates.
        n_counted: entries of each row that count, ``(n,)`` or one number. None: all that are not
            ignored.
        bias: added to the scores ``(m,)``; passed separately, it costs no pass over them.

    Returns:
        Losses ``(n,)``.
    """
    if ignored is not None:  # a row without masked items would have an empty softmax
        ignored = ignored.filter((ignored.counts < ignored.n_items)[ignored.row_of])
    if n_counted is None:
        n_counted = scores.shape[1] if ignored is None else scores.shape[1] - ignored.counts
    scale = 1.0 - 2.0 * smoothing
    mass = (scale * targets.sum_by_row(targets.values) + smoothing * n_counted).clamp_min(1e-12)
    with torch.autocast(scores.device.type, enabled=False):  # sums over the catalog in float32
        return _SoftCrossEntropy.apply(  # type: ignore[no-untyped-call]
            scores,
            bias,
            (targets.row_of, targets.items),
            scale * targets.values / mass[targets.row_of],
            None if ignored is None else (ignored.row_of, ignored.items),
            smoothing / mass if smoothing else None,
            log_inclusion,
        )


class _SoftCrossEntropy(torch.autograd.Function):
    """``log Σ_j exp(s_j)/π_j - Σ_targets w_j s_j - u Σ_j s_j/π_j`` per row.

    Ignored entries are in none of the sums.
    π_j is the inclusion probability of a candidate; it is 1 for targets and without candidates.
    Written by hand, because a step spends most of its time in passes over the scores: one array
    holds the logits, then the softmax, then the gradient.
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
        work = scores.new_empty(scores.shape, dtype=torch.float32)
        torch.add(scores, 0.0 if bias is None else bias, out=work)
        inverse = None if log_inclusion is None else log_inclusion.neg().exp()
        at_targets = work[targets]
        linear = work.new_zeros(len(work)).index_add_(0, targets[0], weights * at_targets)
        if uniform is not None:
            linear += uniform * _estimate_sum(work, targets, at_targets, ignored, inverse)
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
        bias_gradient = gradients[0] @ work if ctx.needs_bias else None
        same_dtype = ctx.dtype == work.dtype
        score_gradient = work if same_dtype else torch.empty_like(work, dtype=ctx.dtype)
        torch.mul(work, gradients[0].unsqueeze(1), out=score_gradient)
        return score_gradient, bias_gradient, None, None, None, None, None


def _estimate_sum(
    scores: Tensor,
    targets: tuple[Tensor, Tensor],
    at_targets: Tensor,
    ignored: tuple[Tensor, Tensor] | None,
    inverse: Tensor | None,
) -> Tensor:
    """``Σ_j s_j/π_j`` of each row ``(n,)``.

    ``inverse`` is 1/π ``(m,)``, None without candidates.
    """
    total = scores.sum(dim=1) if inverse is None else scores @ inverse
    if inverse is not None:
        total.index_add_(0, targets[0], at_targets * (1.0 - inverse[targets[1]]))
    if ignored is not None:
        at_ignored = scores[ignored]
        if inverse is not None:
            at_ignored = at_ignored * inverse[ignored[1]]
        total.index_add_(0, ignored[0], -at_ignored)
    return total
