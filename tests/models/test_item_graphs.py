"""Graphs of users and items, and of items with similar content, against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ops import item_graphs
from ld4mrec_cli.models.ops.graphs import SparseOperator, join_user_item_graph, normalize_graph


def brute_force_neighbors(values: np.ndarray, k: int) -> np.ndarray:
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    similarity = unit @ unit.T
    dense = np.zeros_like(similarity)
    for row, order in enumerate(np.argsort(-similarity, axis=1)[:, :k]):
        dense[row, order] = similarity[row, order].clip(min=0.0)
    return dense


@pytest.mark.parametrize("block", [1, 100, 2**24])
def test_nearest_items_are_those_of_brute_force(monkeypatch, block):
    monkeypatch.setattr(item_graphs, "BLOCK_ENTRIES", block)
    values = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    expected = brute_force_neighbors(values, 7)
    np.testing.assert_allclose(
        item_graphs.nearest_items(values, 7).toarray(), expected, rtol=1e-4, atol=1e-6
    )


def test_the_frozen_graph_is_the_weighted_sum_of_normalized_neighbors():
    """FREEDOM: neighbors without weights, ``D^-1/2 S D^-1/2`` in each modality, then the sum."""
    rng = np.random.default_rng(0)
    features = {name: rng.random((40, 5)).astype(np.float32) for name in ("image", "text")}
    expected = np.zeros((40, 40))
    for name, weight in (("image", 0.1), ("text", 0.9)):
        graph = (brute_force_neighbors(features[name], 10) > 0).astype(float)
        assert (graph.sum(axis=1) == 10).all()
        expected += weight * graph / 10
    actual = item_graphs.frozen_graph(features, 10, {"image": 0.1, "text": 0.9})
    np.testing.assert_allclose(actual.toarray(), expected, rtol=1e-5)


def test_an_item_without_content_has_a_loop_or_the_graph_of_its_other_modalities():
    values = np.random.default_rng(0).random((20, 4)).astype(np.float32)
    text = values.copy()
    text[:5] = text[5:].mean(axis=0)
    alone = item_graphs.frozen_graph({"text": text}, 3, {"text": 0.9}).toarray()
    np.testing.assert_array_equal(alone[:5], np.eye(20)[:5])
    assert not alone[5:, :5].any()
    both = item_graphs.frozen_graph({"image": values, "text": text}, 3, {"image": 0.1, "text": 0.9})
    image = item_graphs.frozen_graph({"image": values}, 3, {"image": 1.0})
    np.testing.assert_allclose(both.toarray()[:5], image.toarray()[:5])
    similar = item_graphs.similarity_graph(text, 3).toarray()
    np.testing.assert_array_equal(similar[:5], np.eye(20)[:5])


def test_an_item_is_its_own_neighbor_among_duplicates():
    graph = item_graphs.nearest_items(np.kron(np.eye(2), np.ones((30, 1))).astype(np.float32), 4)
    assert (graph.diagonal() > 0.99).all()
    assert (np.diff(graph.indptr) == 4).all()


def test_common_neighbors_are_near_in_every_modality_that_knows_the_item():
    one = np.array([[1, 0], [1, 0.1], [1, 0.2], [0, 1], [0.1, 1], [0, 0]], dtype=np.float32)
    two = one.copy()
    two[0], two[4] = 0.0, [1, 0.15]
    edges = item_graphs.common_neighbors({"one": one, "two": two}, 3)
    pairs = set(zip(*(part.tolist() for part in edges.nonzero()), strict=True))
    near_one = item_graphs.nearest_items(one, 3).toarray() > 0
    near_two = item_graphs.nearest_items(two, 3).toarray() > 0
    expected = near_one & near_two
    expected[0] = near_one[0]  # unknown to the second
    np.fill_diagonal(expected, False)
    assert pairs == set(zip(*(part.tolist() for part in expected.nonzero()), strict=True))
    assert pairs


def test_a_graph_is_propagated_as_dense_matrices_are():
    rng, n_users, n_items = np.random.default_rng(0), 30, 20
    train = csr_matrix((rng.random((n_users, n_items)) < 0.1).astype(np.float32))
    items = csr_matrix((rng.random((n_items, n_items)) < 0.05).astype(np.float32))
    graph = normalize_graph(join_user_item_graph(train, items))
    dense = np.zeros((n_users + n_items,) * 2)
    dense[:n_users, n_users:] = train.toarray()
    dense[n_users:, :n_users] = train.toarray().T
    dense[n_users:, n_users:] = items.toarray()
    scale = 1.0 / np.sqrt(np.maximum(dense.sum(axis=1), 1.0))
    dense = torch.from_numpy((scale[:, None] * dense * scale).astype(np.float32))
    x = torch.randn(len(dense), 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    operator = SparseOperator(graph)
    for actual, expected in (
        (operator.average_layers(x, 2), (x + dense @ x + dense @ dense @ x) / 3),
        (operator.repeat(x, 2), dense @ dense @ x),
    ):
        torch.testing.assert_close(actual, expected)
        weights = torch.arange(x.numel()).view_as(x).float()
        torch.testing.assert_close(
            torch.autograd.grad((actual * weights).sum(), x)[0],
            torch.autograd.grad((expected * weights).sum(), x)[0],
        )
