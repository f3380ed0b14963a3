"""The default text features: TF-IDF and truncated SVD, kept so that later texts get the same ones.

::

    text_vectorizer/terms.parquet     term, idf           words and word pairs
    text_vectorizer/components.npy    (dim, n_terms)      float32
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ld4mrec_cli.data.checks import HINT, read_array, read_checked
from ld4mrec_cli.utils.errors import DatasetError

MAX_FIT_TEXTS = 30_000
"""Number of texts that TF-IDF and SVD are fitted on, at most."""
TEXT_CHUNK_SIZE = 10_000
"""Texts that are transformed at a time."""
DIRECTORY = "text_vectorizer"
TERMS_FILE, COMPONENTS_FILE = f"{DIRECTORY}/terms.parquet", f"{DIRECTORY}/components.npy"
TERM, IDF = "term", "idf"


@dataclass(frozen=True)
class TextVectorizer:
    """TF-IDF over words and word pairs, then a projection on the leading singular vectors."""

    terms: tuple[str, ...]
    """Words and word pairs."""
    idf: np.ndarray
    """Weight of each term ``(n_terms,)`` float64."""
    components: np.ndarray
    """Right singular vectors ``(dim, n_terms)`` float32."""

    @property
    def dim(self) -> int:
        """Columns of the features."""
        return len(self.components)

    @classmethod
    def fit(cls, texts: Sequence[str], dim: int, seed: int) -> TextVectorizer | None:
        """Learn terms, weights and components.

        They are learned from at most ``MAX_FIT_TEXTS`` texts, evenly spaced among those that are
        not empty; otherwise memory would grow with every new word pair.

        Args:
            texts: the texts.
            dim: number of columns; fewer where the texts have fewer terms.
            seed: seed of the SVD.

        Returns:
            None where the texts share too few words.
        """
        from sklearn.decomposition import TruncatedSVD  # slow to import, only prepare needs it
        from threadpoolctl import threadpool_limits

        vectorizer = _tfidf(min_df=2, max_df=0.8, max_features=100_000)
        # One thread: the order of sums, and so the bytes, would depend on the number of cores. The
        # limit acts on libraries that are loaded already.
        with threadpool_limits(1):
            try:
                weights = vectorizer.fit_transform(_sample_texts(texts))
            except ValueError:  # no term remains
                return None
            rank = min(dim, min(weights.shape) - 1)
            if rank < 1:
                return None
            svd = TruncatedSVD(rank, n_iter=7, random_state=seed).fit(weights)
        terms = tuple(vectorizer.get_feature_names_out().tolist())
        return cls(terms, vectorizer.idf_, svd.components_.astype(np.float32))

    def transform(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Features of texts; those of a text do not depend on the others.

        Returns:
            ``(n, dim)`` float32, and which texts have one of the terms ``(n,)`` bool.
        """
        values = np.empty((len(texts), self.dim), dtype=np.float32)
        present = np.empty(len(texts), dtype=bool)
        for start in range(0, len(texts), TEXT_CHUNK_SIZE):
            rows = slice(start, start + TEXT_CHUNK_SIZE)
            weights = self._tfidf.transform(texts[rows])
            values[rows], present[rows] = weights @ self.components.T, weights.getnnz(axis=1) > 0
        return values, present

    @cached_property
    def _tfidf(self) -> Any:
        vectorizer = _tfidf(vocabulary=dict(zip(self.terms, range(len(self.terms)), strict=True)))
        vectorizer.idf_ = self.idf
        return vectorizer

    def write(self, directory: Path) -> None:
        """Write the files of the vectorizer into a dataset directory."""
        (directory / DIRECTORY).mkdir()
        pl.DataFrame({TERM: self.terms, IDF: self.idf}).write_parquet(directory / TERMS_FILE)
        np.save(directory / COMPONENTS_FILE, self.components, allow_pickle=False)

    @classmethod
    def read(cls, terms: Path, components: Path, dim: int) -> TextVectorizer:
        """Read the files of a vectorizer. Raises DatasetError where they do not fit together."""
        table = read_checked(terms, DatasetError)
        is_sound = table.schema == {TERM: pl.String, IDF: pl.Float64}
        if (
            not is_sound
            or table[TERM].n_unique() != len(table)
            or table.drop_nulls().height < len(table)
        ):
            raise DatasetError("holds no terms with weights", where=terms, hint=HINT)
        values = read_array(components, (dim, len(table)), "float32", DatasetError)
        return cls(tuple(table[TERM].to_list()), table[IDF].to_numpy(), values)


def _tfidf(**options: Any) -> Any:
    """The TF-IDF of scikit-learn with our options, beside ``options`` of its vocabulary."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), dtype=np.float64, **options)


def _sample_texts(texts: Sequence[str]) -> Sequence[str]:
    """Return all texts, or ``MAX_FIT_TEXTS`` evenly spaced ones that are not empty."""
    if len(texts) <= MAX_FIT_TEXTS:
        return texts
    nonempty = [row for row, text in enumerate(texts) if text]
    n_texts = min(MAX_FIT_TEXTS, len(nonempty))
    positions = np.linspace(0, len(nonempty) - 1, n_texts).astype(np.int64)
    return [texts[nonempty[position]] for position in positions]
