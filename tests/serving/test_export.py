"""Exports: for every model, the tables and the ONNX model give the model's scores, or a refusal."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from model_zoo import CLOSED_FORM
from model_zoo import fit as fit_model
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import Ids
from ld4mrec_cli.models.registry import is_pairwise
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.serving.export.check import relative_difference, sample_users, scores_of_parts
from ld4mrec_cli.serving.export.onnx_check import compare_with_runtime, pad_rows
from ld4mrec_cli.serving.export.onnx_graph import HISTORY, SCORES, VECTOR, GraphBuilder
from ld4mrec_cli.serving.export.onnx_models import build_graph
from ld4mrec_cli.serving.export.parts import split_parts
from ld4mrec_cli.serving.export.vectors import (
    ITEMS_FILE,
    USERS_FILE,
    WEIGHTS_FILE,
    item_vectors,
    user_vectors,
    write_vectors,
    write_weights,
)
from ld4mrec_cli.utils.errors import UserError

MIXED = {"model__ease_scale": 2.0, "model__ials": True, "model__ials_dim": 5}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in MODELS},
    "ease-sparse": ("ease", {"ease__max_items": 10, "ease__neighbors": 12, "ease__ridge": 10.0}),
    "ld4mrec-cnet": ("ld4mrec", {"model__ease": False}),
    "ld4mrec-no-bias": ("ld4mrec", {"model__ease": False, "training__loss": "mse"}),
    "ld4mrec-mse": ("ld4mrec", {"training__loss": "mse"}),
    "ld4mrec-mixture": ("ld4mrec", MIXED),
    "ld4mrec-ials": ("ld4mrec", {**MIXED, "model__ease": False}),
    "ld4mrec-sparse": ("ld4mrec", {**MIXED, "model__ease_max_items": 10, "model__bd_blocks": 2}),
    "ld4mrec-trend": ("ld4mrec", MIXED),
    "ld4mrec-plain": (
        "ld4mrec",
        {"model__guidance": [], "model__item_side": False, "model__bd_blocks": 0},
    ),
    "ld4mrec-no-blocks": ("ld4mrec", {"model__bg_blocks": 0, "model__guidance": ["image"]}),
}
WITH_ONE_PRODUCT = [
    *(name for name in MODELS if name not in ("ld4mrec", "ease", "itemknn")),
    "ld4mrec-cnet",
    "ld4mrec-no-bias",
]
"""Variants whose scores are inner products."""
WITH_ONNX = ("ease", "itemknn", "ials", "multvae", "ld4mrec")


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def config(world, variant):
    name, changed = VARIANTS[variant]
    return world.config(model_name=name, training__max_epochs=2, **changed)


@pytest.fixture(scope="module")
def fitted(world, variant, config):
    name = VARIANTS[variant][0]
    if name in CLOSED_FORM:
        return fit_model(name, world.train, config)
    model = world.trained(config)[0].eval()
    if variant == "ld4mrec-trend":
        rng = np.random.default_rng(0)
        model.set_trend(rng.normal(size=world.train.shape[1]).astype(np.float32))
        model.set_scales({"trend": 0.7})
    return model


@pytest.fixture(scope="module")
def catalog(world):
    n_users, n_items = world.train.shape
    return SimpleNamespace(
        users=Ids([f"u{n}" for n in range(n_users)], "user"),
        items=Ids([f"i{n}" for n in range(n_items)], "item"),
        known=world.train,
    )


@pytest.fixture(scope="module")
def expected(world, fitted):
    users = np.arange(world.train.shape[0])
    with torch.inference_mode():
        return fitted.score(world.train, users).numpy()


def test_the_tables_give_the_scores(world, variant, fitted, catalog, expected, tmp_path):
    parts = split_parts(fitted, world.train.shape[1])
    assert parts.is_inner_product == (variant in WITH_ONE_PRODUCT)
    lengths = write_vectors(tmp_path, catalog, parts)
    if parts.weights is not None:
        assert write_weights(tmp_path / WEIGHTS_FILE, catalog, parts.weights, 99) == 0
    found = scores_of_parts(tmp_path, catalog, parts, np.arange(len(expected)))
    assert relative_difference(found, expected) < 1e-5
    items = pl.read_parquet(tmp_path / ITEMS_FILE, glob=False)
    assert items["item"].to_list() == catalog.items.ids
    for column, length in lengths[ITEMS_FILE].items():
        assert items.schema[column] == pl.Array(pl.Float32, length)
    if parts.vectors:
        users = pl.read_parquet(tmp_path / USERS_FILE, glob=False)
        assert users["user"].to_list() == catalog.users.ids
        assert users.columns == ["user", *parts.vectors]


@pytest.mark.parametrize(
    "variant", ["ease", "ease-sparse", "itemknn", "ials", "ld4mrec-sparse"], indirect=True
)
def test_events_have_their_weights_in_the_tables(world, fitted, catalog, tmp_path):
    known = world.train.copy()
    known.data[:] = np.random.default_rng(0).choice([0.5, 1.0, 3.0], known.nnz)
    weighted, parts = (
        SimpleNamespace(**{**vars(catalog), "known": known}),
        split_parts(fitted, known.shape[1]),
    )
    write_vectors(tmp_path, weighted, parts)
    if parts.weights is not None:
        write_weights(tmp_path / WEIGHTS_FILE, weighted, parts.weights, 99)
    users = np.arange(known.shape[0])
    with torch.inference_mode():
        expected, plain = (fitted.score(rows, users).numpy() for rows in (known, world.train))
    found = scores_of_parts(tmp_path, weighted, parts, users)
    assert relative_difference(found, expected) < 1e-5
    assert relative_difference(plain, expected) > 1e-3


@pytest.mark.parametrize("variant", WITH_ONE_PRODUCT, indirect=True)
def test_an_index_of_inner_products_gives_the_ranking(world, fitted, expected):
    parts = split_parts(fitted, world.train.shape[1])
    users, items = (of(parts, world.train)["vector"] for of in (user_vectors, item_vectors))
    products = users @ items.T
    assert relative_difference(products, expected) < 1e-5
    best = np.take_along_axis(expected, products.argmax(axis=1)[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(best, expected.max(axis=1), atol=1e-5, rtol=1e-5)


def test_the_onnx_model_gives_the_scores(world, variant, fitted, config, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    name = VARIANTS[variant][0]
    if name not in WITH_ONNX:
        with pytest.raises(UserError, match=r"training users only|is not exported as ONNX"):
            build_graph(fitted, name, config)
        return
    graph = build_graph(fitted, name, config)
    graph.save(tmp_path / "model.onnx", {"model": name})
    assert compare_with_runtime(tmp_path / "model.onnx", fitted, world.train) < 1e-5


@pytest.mark.parametrize(
    "variant", ["ials", "multvae", "ld4mrec-cnet", "ld4mrec-no-bias"], indirect=True
)
def test_the_vectors_of_the_onnx_model_are_those_of_the_tables(
    world, variant, fitted, config, tmp_path
):
    runtime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    build_graph(fitted, VARIANTS[variant][0], config).save(tmp_path / "model.onnx", {})
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    rows = world.train[:7]
    scores, vectors = session.run([SCORES, VECTOR], {HISTORY: pad_rows(rows)})
    parts = split_parts(fitted, rows.shape[1])
    np.testing.assert_allclose(vectors, user_vectors(parts, rows)["vector"], atol=1e-5)
    items = item_vectors(parts, rows)["vector"]
    np.testing.assert_allclose(vectors @ items.T, scores, atol=1e-4, rtol=1e-5)


def test_signals_in_any_order_keep_their_own_scale(world, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    backwards = replace(world, features=dict(reversed(world.features.items())))
    config = world.config(model__ease=False)
    model = backwards.model(config).eval()
    assert model.cnet.side == ("collaborative", "text", "image")
    with torch.no_grad():
        for n, name in enumerate(model.cnet.side):
            model.cnet.side_scale(name).fill_(n + 1.0)
    build_graph(model, "ld4mrec", config).save(tmp_path / "model.onnx", {})
    assert compare_with_runtime(tmp_path / "model.onnx", model, world.train) < 1e-5


def test_the_reverse_chain_is_refused(world):
    config = world.config(diffusion__noise_scale=0.1, diffusion__inference_steps=2)
    model = world.model(config)
    with pytest.raises(UserError, match="2 reverse steps"):
        split_parts(model, model.n_items)
    with pytest.raises(UserError, match="2 reverse steps"):
        build_graph(model, "ld4mrec", config)


def test_the_largest_weights_are_kept(world, catalog, tmp_path):
    config = world.config(model_name="ease")
    model = fit_model("ease", world.train, config)
    parts = split_parts(model, world.train.shape[1])
    n_left_out = write_weights(tmp_path / "w.parquet", catalog, parts.weights, 3)
    table = pl.read_parquet(tmp_path / "w.parquet", glob=False)
    assert n_left_out == np.count_nonzero(model.weights) - len(table)
    for (item,), group in table.group_by("history_item"):
        row = np.abs(model.weights[catalog.items.index(item)])
        kept = sorted(np.abs(group["weight"].to_numpy()))
        np.testing.assert_array_equal(kept, np.sort(row)[-3:][-len(kept) :])


def test_large_constants_lie_in_a_file_of_their_own(world, monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    monkeypatch.setattr("ld4mrec_cli.serving.export.onnx_graph.EXTERNAL_DATA_BYTES", 100)
    model = fit_model("ease", world.train, world.config(model_name="ease"))
    graph = build_graph(model, "ease", world.config(model_name="ease"))
    assert graph.save(tmp_path / "m.onnx", {}) == ["m.onnx", "m.onnx.data"]
    assert (
        (tmp_path / "m.onnx").stat().st_size
        < model.weights.nbytes
        < (tmp_path / "m.onnx.data").stat().st_size + 100
    )
    assert compare_with_runtime(tmp_path / "m.onnx", model, world.train) < 1e-5


def test_a_model_beyond_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr("ld4mrec_cli.serving.export.onnx_graph.physical_memory", lambda: 2**20)
    graph = GraphBuilder()
    graph.constant("large", np.zeros(2**18, dtype=np.float32))
    with pytest.raises(UserError, match=r"needs 0\.0 GiB of memory.*Use --format parquet"):
        graph.check_size()


def test_histories_of_all_lengths_are_compared():
    rows = csr_matrix(np.tril(np.ones((100, 100), dtype=np.float32), -1))
    users = sample_users(rows)
    assert users[0] == 0
    assert users[-1] == 99
    assert len(users) == 32
    assert pad_rows(rows[:3]).tolist() == [[-1, -1], [0, -1], [0, 1]]
    assert relative_difference(np.array([np.nan]), np.array([1.0])) != 0.0


def test_every_model_is_exported_or_refused_for_a_reason():
    assert {name for name in MODELS if is_pairwise(name)} <= {*WITH_ONE_PRODUCT}
    assert set(WITH_ONNX) <= set(MODELS)
