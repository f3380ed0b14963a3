"""What each item of a history contributes to LD4MRec's scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.models.ops.history_shares import leave_one_out, split_row
from ld4mrec_cli.models.ops.sparse_rows import SparseRows

if TYPE_CHECKING:
    from ld4mrec_cli.models.ld4mrec.model import LD4MRec


@torch.inference_mode()
def split_by_history(model: LD4MRec, row: csr_matrix, items: np.ndarray) -> Tensor:
    """Shares of a history in the scores of some items ``(h, m)``.

    The parts that are linear in the row, EASE and the least squares of iALS, are split exactly,
    also behind the mixture's clamp: where it acts, the part is 0 and so are its shares. What
    C-Net contributes, its softmax in a mixture, is split by leaving each item out.

    Args:
        model: the model.
        row: the history ``(1, n_items)``, of h items, with sorted indices.
        items: the items ``(m,)`` int64.
    """
    chosen = torch.from_numpy(items).to(model.device)
    shares = leave_one_out(lambda rows: _score_by_cnet(model, rows, chosen), row)
    if model.is_linear_beside_cnet:
        ease = model.cnet.ease_scores(SparseRows.from_csr(split_row(row), model.device), chosen)
        return shares if ease is None else shares + ease
    return shares + model.mixture.linear_shares(row, chosen)


def _score_by_cnet(model: LD4MRec, rows: csr_matrix, chosen: Tensor) -> Tensor:
    """What C-Net contributes to the scores of ``chosen`` ``(m,)``: ``(n, m)``."""
    observed = SparseRows.from_csr(rows, model.device)
    if model.is_linear_beside_cnet:
        return model.factors(observed).of_items(chosen).scores()
    return model.mixture.estimate(model.cnet_scores(observed), chosen)
