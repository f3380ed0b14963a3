"""Item features: text vectors, and alignment of raw features to the items of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ld4mrec_cli.data.readers.arrays import chunks
from ld4mrec_cli.data.readers.base import RawFeatures

MAX_FIT_TEXTS = 30_000
"""Number of texts that TF-IDF and SVD are fitted on, at most."""
_TEXT_CHUNK_SIZE = 10_000


@dataclass(frozen=True)
class Modality:
    """Features of one modality, aligned to the items of a dataset."""

    values: np.ndarray
    """``(n_items, dim)`` float32; items without a feature have the mean of the others."""
    present: np.ndarray
    """Items with a feature of their own, ``(n_items,)`` bool."""

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def coverage(self) -> float:
        """Share of the items that have a feature of their own."""
        return float(self.present.mean())


def align(raw: RawFeatures, item_ids: Sequence[str]) -> Modality:
    """Return raw features in the order of ``item_ids``; impute items without one."""
    return impute(*raw.aligned(item_ids))


def impute(values: np.ndarray, present: np.ndarray) -> Modality:
    """Set the features of items without one to the mean of the others, in place.

    Args:
        values: features ``(n_items, dim)``.
        present: items with a feature of their own, ``(n_items,)`` bool.
    """
    if present.any() and not present.all():
        total = sum(
            chunk[present[start : start + len(chunk)]].sum(axis=0, dtype=np.float64)
            for start, chunk in chunks(values)
        )
        values[~present] = (total / present.sum()).astype(np.float32)
    return Modality(values, present)


def text_features(texts: Sequence[str], dim: int, seed: int) -> Modality | None:
    """Return text vectors: TF-IDF over words and word pairs, then truncated SVD.

    Both are fitted on at most ``MAX_FIT_TEXTS`` texts, evenly spaced among those that are not
    empty; otherwise memory would grow with every new word pair. Items with empty text, or without
    a word of another item, are imputed. Deterministic for a seed.

    Args:
        texts: text of each item, ``n_items`` of them.
        dim: number of columns; fewer where the texts have fewer terms.
        seed: seed of the SVD.

    Returns:
        The modality, or None where the texts share too few words.
    """
    from sklearn.decomposition import TruncatedSVD  # slow to import, and only prepare needs it
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    vectorizer = TfidfVectorizer(
        sublinear_tf=True,
        ngram_range=(1, 2),
        min_df=2,
        max_df=0.8,
        max_features=100_000,
        dtype=np.float64,
    )
    svd = TruncatedSVD(dim, n_iter=7, random_state=seed)
    # One thread: the order of sums, and so the bytes, would depend on the number of cores. The
    # limit acts on libraries that are loaded already.
    with threadpool_limits(1):
        return _compute_tfidf_svd(texts, vectorizer, svd)


def _compute_tfidf_svd(texts: Sequence[str], vectorizer: Any, svd: Any) -> Modality | None:
    sample = _sample_texts(texts)
    try:
        weights = vectorizer.fit_transform(sample)
    except ValueError:  # no term remains
        return None
    rank = min(svd.n_components, min(weights.shape) - 1)
    if rank < 1:
        return None
    values = svd.set_params(n_components=rank).fit_transform(weights).astype(np.float32)
    present = np.asarray(weights.getnnz(axis=1) > 0)
    if len(sample) < len(texts):
        values = np.empty((len(texts), rank), dtype=np.float32)
        present = np.empty(len(texts), dtype=bool)
        for start in range(0, len(texts), _TEXT_CHUNK_SIZE):
            rows = slice(start, start + _TEXT_CHUNK_SIZE)
            weights = vectorizer.transform(texts[rows])
            values[rows], present[rows] = svd.transform(weights), weights.getnnz(axis=1) > 0
    return impute(values, present)


def _sample_texts(texts: Sequence[str]) -> Sequence[str]:
    """Return all texts, or ``MAX_FIT_TEXTS`` evenly spaced ones that are not empty."""
    if len(texts) <= MAX_FIT_TEXTS:
        return texts
    nonempty = [row for row, text in enumerate(texts) if text]
    n_texts = min(MAX_FIT_TEXTS, len(nonempty))
    positions = np.linspace(0, len(nonempty) - 1, n_texts).astype(np.int64)
    return [texts[nonempty[position]] for position in positions]
