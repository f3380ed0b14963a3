"""Inspections of tables small enough to count by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_files import assert_rejected, snapshot

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.inspect.inspection import inspect
from ld4mrec_cli.data.inspect.page import render_page
from ld4mrec_cli.data.inspect.parts import (
    hash_rows,
    summarize_degrees,
    summarize_modality,
    summarize_ratings,
    summarize_times,
)
from ld4mrec_cli.data.inspect.summary import Inspection
from ld4mrec_cli.data.noise.inject import inject_noise
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.settings.data import PrepareConfig

INTERACTIONS = """user,item,rating,timestamp,split
a,x,5,0,train
a,x,4,86400,train
a,y,3,172800,valid
b,x,5,259200,train
b,z,1,345600,test
c,z,1,432000,test
"""
ITEMS = "item,title,brand\nx,Hat,Acme\ny,,Acme\nz,  ,\nq,Never sold,\n"
FEATURES = np.array([[3.0, 4.0], [0.0, 0.0], [3.0, 4.0], [9.0, 9.0]], dtype=np.float32)
FILES = {"interactions.csv": INTERACTIONS, "items.csv": ITEMS, "image_feat.npy": FEATURES}


@pytest.fixture
def inspection(raw: Callable[..., Path]) -> Inspection:
    return inspect(raw(FILES), PrepareConfig())


def test_counts(inspection):
    assert (inspection.kind, inspection.layout, inspection.name, inspection.hash) == (
        "raw",
        "table",
        "raw",
        None,
    )
    counts = inspection.counts
    assert (counts.users, counts.items, counts.interactions) == (3, 3, 6)
    assert counts.repeated_interactions == 1
    assert counts.items_without_interactions == 1
    assert counts.density == pytest.approx(5 / 9)
    for file in FILES:
        assert file in inspection.provenance


def test_splits_and_cold_users_and_items(inspection):
    train, valid, test = inspection.splits
    assert (train.interactions, train.users, train.items, train.cold_interactions) == (3, 2, 1, 0)
    assert (valid.interactions, valid.users, valid.items, valid.cold_interactions) == (1, 1, 1, 1)
    assert (test.interactions, test.users, test.items, test.cold_interactions) == (2, 2, 1, 2)
    assert (inspection.cold.users, inspection.cold.items) == (1, 2)
    assert train.share == 0.5


def test_degrees_count_a_pair_once(inspection):
    users, items = inspection.user_degrees, inspection.item_degrees
    assert (users.min, users.median, users.max) == (1, 2.0, 2)
    assert (users.histogram.degree, users.histogram.count) == ([1, 2], [1, 2])
    assert (items.histogram.degree, items.histogram.count) == ([1, 2], [1, 2])
    assert users.mean == pytest.approx(5 / 3)


def test_ratings_times_features_and_texts(inspection):
    assert [(b.low, b.high, b.count) for b in inspection.ratings.histogram] == [
        (1, 1, 2),
        (3, 3, 1),
        (4, 4, 1),
        (5, 5, 2),
    ]
    assert inspection.ratings.mean == pytest.approx(19 / 6)
    assert (inspection.times.first, inspection.times.median, inspection.times.last) == (
        "1970-01-01",
        "1970-01-03",
        "1970-01-06",
    )
    assert (inspection.times.days, inspection.times.unit, inspection.times.period) == (
        5.0,
        "seconds",
        "day",
    )
    image = inspection.modalities[0]
    assert (image.name, image.columns, image.coverage, image.imputed_items) == ("image", 2, 1.0, 0)
    assert (image.zero_rows, image.repeated_rows) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert image.mean_length == pytest.approx(10 / 3)
    texts = {text.field: (text.items_with_text, text.mean_length) for text in inspection.texts}
    assert texts == {"title": (1, 3.0), "brand": (2, 4.0)}


def test_popular_items_come_first_and_no_item_twice(inspection):
    items = [(item.item, item.title, item.interactions) for item in inspection.popular_items]
    assert items[0] == ("x", "Hat", 2)
    assert [item for item, _, _ in items] == ["x", "z", "y"]
    assert inspection.sample_items == []


def test_the_five_core_of_raw_files(raw):
    rows = [f"u{user},i{item}" for user in range(5) for item in range(5)] + ["u0,rare", "once,i0"]
    inspection = inspect(
        raw({"interactions.csv": "user,item\n" + "\n".join(rows) + "\n"}), PrepareConfig()
    )
    assert (
        inspection.core.k,
        inspection.core.users,
        inspection.core.items,
        inspection.core.interactions,
    ) == (
        5,
        5,
        5,
        25,
    )
    assert (
        inspection.splits,
        inspection.cold,
        inspection.ratings,
        inspection.times,
        inspection.modalities,
        inspection.texts,
    ) == (
        [],
        None,
        None,
        None,
        [],
        [],
    )


def test_a_core_that_leaves_nothing(inspection):
    assert (inspection.core.users, inspection.core.items, inspection.core.interactions) == (0, 0, 0)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=50))
def test_degree_summaries_agree_with_numpy(counts):
    summary = summarize_degrees(np.array(counts))
    assert [summary.q25, summary.median, summary.q75] == pytest.approx(
        list(np.quantile(counts, [0.25, 0.5, 0.75]))
    )
    assert sum(summary.histogram.count) == len(counts)
    assert sum(
        d * n for d, n in zip(summary.histogram.degree, summary.histogram.count, strict=True)
    ) == sum(counts)
    assert 0.0 <= summary.gini <= 1.0


@pytest.mark.parametrize(
    ("unit", "factor"), [("seconds", 1), ("milliseconds", 10**3), ("nanoseconds", 10**9)]
)
def test_the_unit_of_timestamps_is_judged_by_their_size(unit, factor):
    summary = summarize_times(np.array([1_600_000_000, 1_600_086_400]) * factor)
    assert (summary.unit, summary.first, summary.last, summary.days) == (
        unit,
        "2020-09-13",
        "2020-09-14",
        1.0,
    )


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5))
def test_any_timestamps_are_summed_up(timestamps):
    summary = summarize_times(np.array(timestamps))
    assert sum(entry.interactions for entry in summary.histogram) == len(timestamps)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_any_ratings_are_summed_up(ratings):
    summary = summarize_ratings(np.array(ratings))
    assert sum(entry.count for entry in summary.histogram) == len(ratings)
    assert len(summary.histogram) <= 20
    assert np.isfinite(
        [summary.mean, *(edge for entry in summary.histogram for edge in (entry.low, entry.high))]
    ).all()


def test_many_ratings_get_bins_of_equal_width():
    summary = summarize_ratings(np.arange(101) / 10)
    assert [(b.low, b.high) for b in summary.histogram[:2]] == [(0.0, 0.5), (0.5, 1.0)]
    assert sum(b.count for b in summary.histogram) == 101


def test_features_are_the_same_in_any_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.integers(-1, 2, size=(200, 3)).astype(np.float16)
    has_item = rng.random(200) < 0.7
    whole = summarize_modality("m", values, has_item, 250)
    monkeypatch.setattr("ld4mrec_cli.data.readers.arrays._CHUNK", 7)
    pieces = summarize_modality("m", values, has_item, 250)
    assert pieces.model_dump() == pytest.approx(whole.model_dump())
    own = values[has_item][values[has_item].any(axis=1)]
    assert whole.repeated_rows == pytest.approx(
        (len(own) - len(np.unique(own, axis=0))) / has_item.sum()
    )
    assert whole.imputed_items == 250 - has_item.sum()


def test_negative_zero_is_zero():
    a, b = hash_rows(np.array([[0.0, 1.0], [-0.0, 1.0]], dtype=np.float32))
    assert a == b


def test_huge_features_have_a_finite_length():
    values = np.full((3, 4), 3e38, dtype=np.float32)
    assert summarize_modality("m", values, np.ones(3, dtype=bool), 3).mean_length == pytest.approx(
        6e38
    )


def test_a_modality_of_other_items_is_not_an_error(raw):
    keyed = pl.DataFrame({"item": ["other"], "v": [[1.0, 2.0]]})
    inspection = inspect(
        raw({"interactions.csv": "user,item\na,x\n", "image_feat.parquet": keyed}), PrepareConfig()
    )
    assert (inspection.modalities[0].coverage, inspection.modalities[0].mean_length) == (0.0, None)
    assert "NaN" not in inspection.model_dump_json()


def test_a_dataset_has_the_numbers_of_its_schema(prepared):
    before = snapshot(prepared)
    inspection = inspect(prepared, PrepareConfig())
    schema = Dataset.open(prepared).schema
    assert (inspection.kind, inspection.core, inspection.layout) == ("dataset", None, "table")
    assert (inspection.counts.users, inspection.counts.items) == (schema.n_users, schema.n_items)
    assert inspection.counts.interactions == schema.n_interactions
    assert inspection.counts.density == pytest.approx(schema.density)
    for split in inspection.splits:
        expected = schema.splits[split.name]
        assert (split.interactions, split.users, split.items) == (
            expected.interactions,
            expected.users,
            expected.items,
        )
    for modality in inspection.modalities:
        expected = schema.modalities[modality.name]
        assert (modality.columns, modality.items_with_feature) == (
            expected.dim,
            expected.items_with_feature,
        )
    assert inspection.hash == Dataset.open(prepared).hash
    assert "k-core 3" in inspection.provenance
    assert snapshot(prepared) == before


def test_injected_noise_is_reported_and_has_times_of_the_data(prepared, tmp_path):
    inject_noise(prepared, tmp_path / "noisy", "random", 0.2, seed=0)
    inspection, clean = (
        inspect(tmp_path / "noisy", PrepareConfig()),
        inspect(prepared, PrepareConfig()),
    )
    assert "random noise at ratio 0.2" in inspection.provenance
    assert inspection.counts.interactions > clean.counts.interactions
    assert (inspection.times.first, inspection.times.last) == (clean.times.first, clean.times.last)
    counted = sum(one.interactions for one in inspection.times.histogram)
    assert counted == inspection.counts.interactions


def test_a_changed_dataset_is_refused(planted_raw, tmp_path):
    prepare(planted_raw, tmp_path / "d", PrepareConfig(k_core=3, text_dim=8))
    (tmp_path / "d" / "features" / "image.npy").write_bytes(b"changed")
    assert_rejected(lambda: inspect(tmp_path / "d", PrepareConfig()), "image.npy", "was changed")


HOSTILE = '"<script>alert(1)</script><alert(1)>" & <3'


@pytest.fixture
def hostile(raw: Callable[..., Path]) -> Path:
    items = pl.DataFrame({"item": ["<i>x", "y"], "title": [HOSTILE, "$\\frac{"]})
    interactions = pl.DataFrame({"user": ["a", "b", "b"], "item": ["<i>x", "<i>x", "y"]})
    return raw({"interactions.parquet": interactions, "items.parquet": items})


def test_the_page_escapes_what_comes_from_the_data(hostile):
    html = render_page(inspect(hostile, PrepareConfig()))
    assert "<script" not in html
    assert "&#34; &lt;alert(1)&gt;&#34; &amp; &lt;3" in html
    assert "&lt;i&gt;x" in html


def test_the_page_needs_no_network_and_repeats_byte_for_byte(inspection):
    html = render_page(inspection)
    assert "http://" not in html
    assert "https://" not in html
    assert "src=" in html
    assert html.count('src="data:image/svg+xml;base64,') == html.count("src=")
    for title in (
        "Splits",
        "Ratings",
        "Modalities",
        "Interactions over time",
        "Texts",
        "Items",
    ):
        assert f"<h2>{title}</h2>" in html
    assert render_page(inspection) == html


@pytest.mark.slow
@pytest.mark.parametrize(
    "times", [[-(10**10) * 9, 0], [0, 99_999_999_999], [5], [1_600_000_000] * 3]
)
def test_pages_of_odd_times_are_drawn(raw, times):
    rows = "".join(f"u{number},i,{number / 7},{time}\n" for number, time in enumerate(times))
    render_page(
        inspect(raw({"interactions.csv": "user,item,rating,timestamp\n" + rows}), PrepareConfig())
    )


KNOWN: dict[str, dict[str, Any]] = {
    "tiktok": {"users": 9308, "items": 6710, "interactions": 68722, "cold": (10, 465)},
    "ml-100k": {"users": 943, "items": 1682, "interactions": 100_000, "cold": (0, 39)},
    "baby": {"users": 19445, "items": 7050, "interactions": 160_792, "cold": (0, 2)},
    "amazon_gift_cards": {"users": 458, "items": 148, "interactions": 2972, "cold": None},
}


@pytest.mark.parametrize("name", KNOWN)
def test_real_data(real_data, name):
    inspection = inspect(real_data(name), PrepareConfig())
    known = KNOWN[name]
    assert [getattr(inspection.counts, key) for key in ("users", "items", "interactions")] == list(
        known.values()
    )[:3]
    assert (inspection.cold and (inspection.cold.users, inspection.cold.items)) == known["cold"]
    assert json.loads(inspection.model_dump_json())["name"] == name
    if name == "ml-100k":
        assert inspection.popular_items[0].title == "Star Wars (1977)"
        assert (inspection.times.first, inspection.times.last) == ("1997-09-20", "1998-04-22")


def test_the_docs_list_every_key_of_the_json():
    text = (Path(__file__).parents[2] / "docs" / "inspect.md").read_text(encoding="utf-8")
    for name in Inspection.model_fields:
        assert f"`{name}`" in text, name
