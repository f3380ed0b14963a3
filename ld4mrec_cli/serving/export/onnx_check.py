"""Compare an ONNX model with the model that it was made of, on real histories."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.ranking import Scorer
from ld4mrec_cli.serving.export.check import relative_difference
from ld4mrec_cli.serving.export.onnx_graph import HISTORY, SCORES, import_onnx

ROWS_AT_A_TIME = 8


def has_runtime() -> bool:
    """Whether onnxruntime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def pad_rows(rows: csr_matrix) -> np.ndarray:
    """Items of each row ``(n, length)`` int64, -1 past the end."""
    counts = np.diff(rows.indptr)
    padded = np.full((rows.shape[0], int(counts.max(initial=0))), -1, dtype=np.int64)
    padded[np.arange(padded.shape[1]) < counts[:, None]] = rows.indices
    return padded


@torch.inference_mode()
def compare_with_runtime(path: Path, scorer: Scorer, rows: csr_matrix) -> float:
    """Largest difference of the scores by onnxruntime and by the model.

    See :func:`relative_difference`. A row without items is compared, too.

    Args:
        path: the ONNX model.
        scorer: the model.
        rows: histories ``(n, n_items)``; their values do not count.
    """
    session = import_onnx("onnxruntime").InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    differences = []
    nobody = csr_matrix((1, rows.shape[1]), dtype=np.float32)
    parts = [rows[n : n + ROWS_AT_A_TIME] for n in range(0, rows.shape[0], ROWS_AT_A_TIME)]
    for part in (*parts, nobody):
        binary = csr_matrix((np.ones_like(part.data), part.indices, part.indptr), part.shape)
        (found,) = session.run([SCORES], {HISTORY: pad_rows(binary)})
        differences.append(relative_difference(found, scorer.score(binary).float().cpu().numpy()))
    return max(differences)
