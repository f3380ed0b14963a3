"""Item features: text to vectors, and alignment of raw features to the items of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ld4mrec_cli.data.readers.arrays import chunks
from ld4mrec_cli.data.readers.base import RawFeatures

FITTED = 30_000
"""Texts that the terms and directions of text features are learned from, where there are more."""
_TEXTS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Modality:
    """Features of one modality, aligned to the items of a dataset."""

    values: np.ndarray
    """``(n_items, dim)`` float32; items without a feature have the mean of the others."""
    present: np.ndarray
    """Which items have a feature of their own, ``(n_items,)`` bool."""

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def coverage(self) -> float:
        """Share of the items that have a feature of their own."""
        return float(self.present.mean())


def align(raw: RawFeatures, item_ids: Sequence[str]) -> Modality:
    """Bring raw features into the order of ``item_ids``; items without one are imputed with the mean."""
    return impute(*raw.aligned(item_ids))


def impute(values: np.ndarray, present: np.ndarray) -> Modality:
    """Give items without a feature the mean of those that have one."""
    if present.any() and not present.all():
        total = sum(
            chunk[present[start : start + len(chunk)]].sum(axis=0, dtype=np.float64)
            for start, chunk in chunks(values)
        )
        values[~present] = (total / present.sum()).astype(np.float32)
    return Modality(values, present)


def text_features(texts: Sequence[str], dim: int, seed: int) -> Modality | None:
    """Turn texts into vectors: TF-IDF over words and word pairs, then truncated SVD to ``dim`` columns.

    Terms, their weights and the directions of the SVD are learned from at most ``FITTED`` texts, evenly
    spaced among those that are not empty; beyond that memory would grow with every new word pair. Items
    with empty text, or with words that occur nowhere else, are imputed. Deterministic for a seed. Returns
    None where the texts share too few words to make a vector of.
    """
    from threadpoolctl import threadpool_limits  # as scikit-learn does

    vectorizer, reduce_to = _text_tools(seed)
    with threadpool_limits(
        1
    ):  # sums in another order would give other bytes on another number of cores
        return _tfidf_svd(texts, dim, vectorizer, reduce_to)


def _text_tools(seed: int) -> tuple[Any, Callable[[int], Any]]:
    """An unfitted TF-IDF, and the truncated SVD to a rank; both are slow to import and needed in prepare alone."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        sublinear_tf=True,
        ngram_range=(1, 2),
        min_df=2,
        max_df=0.8,
        max_features=100_000,
        dtype=np.float64,
    )
    return vectorizer, lambda rank: TruncatedSVD(rank, n_iter=7, random_state=seed)


def _tfidf_svd(
    texts: Sequence[str], dim: int, vectorizer: Any, reduce_to: Callable[[int], Any]
) -> Modality | None:
    fitted = _evenly_spaced(texts)
    try:
        weights = vectorizer.fit_transform(fitted)
    except ValueError:  # no term is left
        return None
    rank = min(dim, min(weights.shape) - 1)
    if rank < 1:
        return None
    svd = reduce_to(rank)
    values = svd.fit_transform(weights).astype(np.float32)
    present = np.asarray(weights.getnnz(axis=1) > 0)
    if len(fitted) < len(texts):
        values = np.empty((len(texts), rank), dtype=np.float32)
        present = np.empty(len(texts), dtype=bool)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            rows = slice(start, start + _TEXTS_AT_ONCE)
            weights = vectorizer.transform(texts[rows])
            values[rows], present[rows] = svd.transform(weights), weights.getnnz(axis=1) > 0
    return impute(values, present)


def _evenly_spaced(texts: Sequence[str]) -> Sequence[str]:
    """All texts where they are few, else ``FITTED`` of those that are not empty."""
    if len(texts) <= FITTED:
        return texts
    filled = [row for row, text in enumerate(texts) if text]
    picked = np.linspace(0, len(filled) - 1, min(FITTED, len(filled))).astype(np.int64)
    return [texts[filled[row]] for row in picked]
