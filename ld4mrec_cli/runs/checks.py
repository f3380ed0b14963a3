"""Checks of the weights and tables of a run: a fitting checksum does not make them sensible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ld4mrec_cli.evaluation.ranking import Scorer
from ld4mrec_cli.utils.errors import RunError, UserError

HINT = "Train again"


DTYPES = (torch.float32, torch.float64, torch.int32, torch.int64)


def check_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise RunError unless all tensors of a file hold finite numbers of the usual dtypes."""
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise RunError(f"'{name}' is {tensor.dtype}", where=path, hint=HINT)
        if not torch.isfinite(tensor).all():
            raise RunError(f"'{name}' has values that are not finite", where=path, hint=HINT)


@torch.inference_mode()
def check_scores(scorer: Scorer, shape: tuple[int, int], path: Path) -> None:
    """Score one user without interactions, and the last one, to see that the weights fit together.

    Args:
        scorer: the model that was loaded.
        shape: ``(n_users, n_items)`` of the run.
        path: the run directory, for the message.

    Raises:
        RunError: the model cannot score, or not all items.
    """
    n_users, n_items = shape
    rows = csr_matrix((1, n_items), dtype=np.float32)
    for user in {0, n_users - 1}:
        try:
            scores = scorer.score(rows, np.array([user], dtype=np.int64))
        except UserError:
            raise
        except Exception as error:  # shapes that do not fit raise nearly anything
            reason = (str(error).splitlines() or [""])[0]
            raise RunError(f"the model cannot score ({reason})", where=path, hint=HINT) from None
        if tuple(scores.shape) != (1, n_items) or not scores.is_floating_point():
            what = f"the model gives scores {tuple(scores.shape)}, not (1, {n_items})"
            raise RunError(what, where=path, hint=HINT)
