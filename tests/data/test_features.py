from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.data.features import Modality, align, impute
from ld4mrec_cli.data.readers.base import RawFeatures
from ld4mrec_cli.data.text_vectorizer import TextVectorizer


def features(values: np.ndarray) -> RawFeatures:
    return RawFeatures(Path("image_feat.npy"), [f"i{row}" for row in range(len(values))], values)


@given(order=st.permutations(range(6)), missing=st.sets(st.integers(0, 5), max_size=5))
def test_items_get_their_own_row_or_the_mean(order, missing):
    values = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    ids = [f"x{row}" if row in missing else f"i{row}" for row in order]
    modality = align(features(values), ids)
    known = [row for row in order if row not in missing]
    assert modality.present.tolist() == [row not in missing for row in order]
    for position, row in enumerate(order):
        expected = values[known].mean(axis=0) if row in missing else values[row]
        np.testing.assert_allclose(modality.values[position], expected, atol=1e-6)
    assert modality.coverage == pytest.approx(len(known) / 6)


def test_the_mean_of_float16_features_does_not_overflow():
    values = np.full((5000, 2), 60_000, dtype=np.float16)
    with np.errstate(over="ignore"):
        assert np.isinf(values.sum(axis=0)).all()
    modality = align(features(values), ["new", *(f"i{row}" for row in range(5000))])
    assert modality.values.dtype == np.float32
    np.testing.assert_array_equal(modality.values[0], values[0].astype(np.float32))


def test_the_mean_of_many_large_float32_features_is_exact():
    # float32 sums lose units beyond 2^24; more rows than one piece of the sum
    values = np.full((70_000, 3), 1001.0, dtype=np.float32)
    values[0] = 0.0
    present = np.arange(70_000) > 0
    assert impute(values, present).values[0].tolist() == [1001.0] * 3


def test_nothing_to_impute_from_or_for_changes_nothing():
    values = np.ones((3, 2), dtype=np.float32)
    for present in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        assert (impute(values.copy(), present).values == values).all()


def text_features(texts: list[str], dim: int, seed: int) -> Modality | None:
    vectorizer = TextVectorizer.fit(texts, dim, seed)
    return None if vectorizer is None else impute(*vectorizer.transform(texts))


TEXTS = [
    "wool hat for winter snow",
    "warm winter hat of wool",
    "snow gloves of warm wool",
    "garden spade for soil",
    "spade and seed for the garden",
    "garden soil with seed",
    "",
    "zebra",
]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_texts_with_common_words_are_nearer():
    modality = text_features(TEXTS, dim=4, seed=0)
    winter, garden = modality.values[:3], modality.values[3:6]
    within = [
        cosine(group[a], group[b])
        for group in (winter, garden)
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    across = [cosine(a, b) for a in winter for b in garden]
    assert min(within) > max(across)


def test_texts_without_a_shared_word_get_the_mean():
    modality = text_features(TEXTS, dim=4, seed=0)
    assert modality.present.tolist() == [True] * 6 + [False] * 2
    np.testing.assert_allclose(modality.values[6], modality.values[:6].mean(axis=0), atol=1e-6)


@given(st.lists(st.text("ab &<", max_size=12), max_size=12), st.integers(1, 5))
def test_text_features_are_finite_or_none(texts, dim):
    modality = text_features(texts, dim, seed=0)
    if modality is not None:
        assert modality.values.shape[0] == len(texts)
        assert 1 <= modality.dim <= dim
        assert np.isfinite(modality.values).all()


def test_text_features_are_a_function_of_texts_and_seed():
    rng = np.random.default_rng(1)
    texts = [" ".join(f"w{word}" for word in rng.integers(0, 60, size=8)) for _ in range(80)]
    first, again, other = (text_features(texts, 6, seed).values for seed in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_many_texts_are_encoded_by_a_fit_on_some_of_them(monkeypatch):
    rng = np.random.default_rng(2)
    texts = [
        " ".join(f"{kind}{word}" for word in rng.integers(0, 9, size=8))
        for kind in "ab"
        for _ in range(100)
    ]
    texts = [text for pair in zip(texts[:100], texts[100:], strict=True) for text in pair] + [
        "",
        "zebra",
    ]
    monkeypatch.setattr("ld4mrec_cli.data.text_vectorizer.MAX_FIT_TEXTS", 40)
    monkeypatch.setattr("ld4mrec_cli.data.text_vectorizer.TEXT_CHUNK_SIZE", 30)
    modality = text_features(texts, dim=2, seed=0)
    assert modality.values.shape == (202, 2)
    assert modality.present.tolist() == [True] * 200 + [False] * 2
    first, second = modality.values[0:200:2], modality.values[1:200:2]
    assert min(cosine(first[0], row) for row in first) > max(
        cosine(first[0], row) for row in second
    )
    assert modality.values.tobytes() == text_features(texts, dim=2, seed=0).values.tobytes()
    assert text_features([""] * 100, dim=2, seed=0) is None


@pytest.mark.parametrize("texts", [["", ""], ["cat", "dog"], ["hat"], ["the same", "the same"]])
def test_texts_without_a_distinguishing_word_give_no_modality(texts):
    assert text_features(texts, 4, seed=0) is None
