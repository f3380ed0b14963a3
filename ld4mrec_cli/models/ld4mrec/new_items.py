"""How LD4MRec scores items that have no interactions: by their content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.ops.content_neighbors import (
    CONTENT_SHARE,
    average,
    history_content,
)
from ld4mrec_cli.models.ops.sparse_rows import SparseRows

HEAD_SHARE = 6.0
"""Factor of the softmax of new items in a mixture: the mean of two logarithms is a small number."""

if TYPE_CHECKING:
    from ld4mrec_cli.models.ld4mrec.model import LD4MRec


@torch.inference_mode()
def score_new_items(
    model: LD4MRec, rows: csr_matrix, neighbors: csr_matrix
) -> tuple[Tensor, Tensor]:
    """Scores of known and new items, see :meth:`Recommender.score_new_items`.

    C-Net's scores are averaged over the known items that stand for a new one, without their bias,
    which is the popularity of each known item; a new one has the mean bias, so that it is ranked by
    the user's taste alone. The logarithm of the content head's probability is a second estimate,
    and the mean of both is taken. In a mixture, the softmax is taken with the sum of the known
    items. The other parts are averaged as they are, and EASE gets the share of the content that its
    zero diagonal lacks.
    """
    observed = SparseRows.from_csr(rows, model.device)
    scores = model.cnet_scores(observed)
    bias = model.cnet.decoder_bias
    is_used = model.cnet.signals.inverse_sqrt_degree > 0
    new = average(scores - bias, neighbors) + bias[is_used].mean()
    total = scores.logsumexp(dim=1, keepdim=True)
    by_content = model.log_content_probabilities(observed)
    if by_content is not None:
        new = 0.5 * (new + by_content + total)
    if model.mixture.is_empty:
        return scores, new
    mixed: Tensor = model.mixture(scores, observed, rows)
    new = HEAD_SHARE * (new - total).exp()
    parts, factor = mixed - model.mixture.estimate(scores), model.mixture.trend_factor(model.device)
    new += average(parts if factor is None else parts / factor, neighbors)
    share = CONTENT_SHARE * sum(model.mixture.scales.values())
    return mixed, new + share * history_content(rows, neighbors).to(new.device)
