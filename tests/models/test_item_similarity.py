"""Which items are similar, for every model: items of one planted kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_zoo import CLOSED_FORM
from model_zoo import fit as fit_model
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from ld4mrec_cli.models.ops.item_vectors import CosineSimilarity
from ld4mrec_cli.models.pairwise import FactorModel
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.serving.similar import rank_similar
from ld4mrec_cli.utils.errors import UserError


def fit(world, name):
    epochs = 80 if name == "diffrec" else 15  # it learns slowly
    config = world.config(model_name=name, training__max_epochs=epochs)
    if name in CLOSED_FORM:
        return fit_model(name, world.train, config)
    return world.trained(config)[0]


def ranked(model, queries, n_items, k, **options):
    blocks = list(rank_similar(model.item_similarity(), queries, n_items, k, 7, **options))
    return tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.relates_items])
def test_items_of_one_kind_are_similar(world, name):
    model, n_items = fit(world, name), world.train.shape[1]
    warm = np.arange(36)
    queries, items, _ = ranked(model, warm, n_items, 5)
    assert (queries == warm).all()
    assert (items != warm[:, None]).all()
    same = (world.kind[items] == world.kind[warm][:, None])[items >= 0].mean()
    assert same > 0.55  # by chance: 0.31


def test_popularity_relates_no_item(world):
    with pytest.raises(UserError, match="popularity relates no item to another"):
        fit(world, "popularity").item_similarity()


@pytest.mark.parametrize("name", ["ease", "itemknn"])
def test_item_item_weights_are_the_similarity(world, name):
    model, n_items = fit(world, name), world.train.shape[1]
    weights = model.weights if isinstance(model.weights, np.ndarray) else model.weights.toarray()
    queries, items, scores = ranked(model, np.array([4, 0, 37]), n_items, 6)
    for query, found, values in zip(queries, items, scores, strict=True):
        row = weights[query].copy()
        row[query] = -np.inf
        expected = np.argsort(-row, kind="stable")[:6]
        is_listed = row[expected] != 0.0
        np.testing.assert_array_equal(found[found >= 0], expected[is_listed])
        np.testing.assert_allclose(values[found >= 0], row[expected][is_listed], rtol=1e-6)
    assert (items[2] == -1).all()  # the cold item: nothing relates it to others


def test_vectors_are_compared_by_their_angle():
    items = torch.tensor([[1.0, 0.0], [50.0, 50.0], [0.1, 0.0], [-1.0, 0.1], [0.0, 0.0]])
    tensors = {"user_factors": torch.zeros(1, 2), "item_factors": items}
    model = FactorModel(tensors | {"item_bias": torch.arange(5.0)})
    _, found, cosines = ranked(model, np.array([0, 4]), 5, 4)
    assert found[0].tolist() == [2, 1, -1, 3]  # a zero vector is like nothing
    expected = F.cosine_similarity(items[:1], items[[2, 1, 3]])
    np.testing.assert_allclose(cosines[0][[0, 1, 3]], expected, atol=1e-6)
    assert (found[1] == -1).all()
    _, found, _ = ranked(model, np.array([0]), 5, 4, allowed=np.array([0, 1, 3]))
    assert found[0][found[0] >= 0].tolist() == [1, 3]


def test_blocks_give_what_the_whole_gives():
    vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    similarity = CosineSimilarity(vectors)
    dense = similarity.score(csr_matrix(np.eye(40, dtype=np.float32)))
    torch.testing.assert_close(dense.diagonal(), torch.ones(40))
    queries = np.arange(40)
    parts = list(rank_similar(similarity, queries, 40, 3, 9))
    (whole,) = rank_similar(similarity, queries, 40, 3, 40)
    assert [len(queries) for queries, _, _ in parts] == [9, 9, 9, 9, 4]
    np.testing.assert_array_equal(np.concatenate([items for _, items, _ in parts]), whole[1])
    np.testing.assert_array_equal(whole[1], (dense - 2 * torch.eye(40)).topk(3).indices)
