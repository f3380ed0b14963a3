"""How LD4MRec scores items that have no interactions, by known items of like content."""

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

if TYPE_CHECKING:
    from ld4mrec_cli.models.ld4mrec.model import LD4MRec


@torch.inference_mode()
def score_new_items(
    model: LD4MRec, rows: csr_matrix, neighbors: csr_matrix
) -> tuple[Tensor, Tensor]:
    """Scores of known and new items, see :meth:`Recommender.score_new_items`.

    C-Net's scores are averaged without their bias, which is the popularity of each known item; a
    new one has the mean bias, so that it is ranked by the user's taste alone. In a mixture, its
    softmax is taken with the sum of the known items. The other parts are averaged as they are, and
    EASE gets the share of the content that its zero diagonal lacks.
    """
    observed = SparseRows.from_csr(rows, model.device)
    scores = model.cnet_scores(observed)
    bias = model.cnet.decoder_bias
    is_used = model.cnet.signals.inverse_sqrt_degree > 0
    new = average(scores - bias, neighbors) + bias[is_used].mean()
    if model.mixture.is_empty:
        return scores, new
    mixed: Tensor = model.mixture(scores, observed, rows)
    new = (new - scores.logsumexp(dim=1, keepdim=True)).exp()
    new += average(mixed - model.mixture.estimate(scores), neighbors)
    share = CONTENT_SHARE * sum(model.mixture.scales.values())
    return mixed, new + share * history_content(rows, neighbors).to(new.device)
