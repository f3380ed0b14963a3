"""Known answers of the multimodal baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from model_zoo import build
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import config_from_mapping
from ld4mrec_cli.evaluation.evaluate import evaluate
from ld4mrec_cli.models.batches import Pairs
from ld4mrec_cli.models.bm3 import BM3
from ld4mrec_cli.models.freedom import default_weights, prune_edges
from ld4mrec_cli.models.gume import moment_distance, perturb
from ld4mrec_cli.models.multimodal import MultimodalRecommender
from ld4mrec_cli.models.ops import item_graphs
from ld4mrec_cli.models.ops.contrast import contrastive_loss, cosine_loss, masked_mean
from ld4mrec_cli.models.registry import load_class
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.training.trainer import Trainer

NAMES = [name for name in MODELS if issubclass(load_class(name), MultimodalRecommender)]
N_USERS, N_ITEMS, N_KINDS = 120, 60, 6


def planted() -> tuple[csr_matrix, csr_matrix, np.ndarray]:
    """Train, test and kind of the items: a user has two items of a kind, and a third in the test.

    Nearly no two users have an item in common: co-occurrence alone says little.
    """
    rng = np.random.default_rng(0)
    kind = np.arange(N_ITEMS) % N_KINDS
    train, test = (np.zeros((N_USERS, N_ITEMS), dtype=np.float32) for _ in range(2))
    for user in range(N_USERS):
        chosen = rng.choice(np.flatnonzero(kind == user % N_KINDS), 3, replace=False)
        train[user, chosen[:2]], test[user, chosen[2]] = 1.0, 1.0
    return csr_matrix(train), csr_matrix(test), kind


TRAIN, TEST, KIND = planted()


def features_of(kind: np.ndarray, noise: float = 0.1) -> np.ndarray:
    """A direction for each kind, plus noise."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(N_KINDS, 8))[kind] + noise * rng.normal(size=(len(kind), 8))
    return values.astype(np.float32)


CONTENT = features_of(KIND)
SHUFFLED = features_of(np.random.default_rng(2).permutation(KIND))


def config_of(name: str, epochs: int = 15, **settings: Any):
    training = {"max_epochs": epochs, "patience": 99, "batch_size": 64, "learning_rate": 0.01}
    section = {"factors": 8, **settings}
    return config_from_mapping({"model_name": name, "training": training, name: section})


def trained(name: str, features: dict[str, np.ndarray], epochs: int = 15, **settings: Any):
    config = config_of(name, epochs, **settings)
    model = build(name, TRAIN, config, features)
    Trainer(model, TRAIN, config.training, lambda model: {"ndcg@20": 0.5}).run(lambda report: None)
    return model


def recall(model) -> float:
    return evaluate(model, TRAIN, TEST, TRAIN, [8], 64).metrics["recall@8"]


def test_there_are_four():
    assert NAMES == ["freedom", "bm3", "mgcn", "gume"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["freedom", "mgcn", "gume"])
def test_planted_content_is_found(name):
    """With the kind in the features, the third item is found; with shuffled features, less so."""
    found = recall(trained(name, {"text": CONTENT}, epochs=8))
    assert found > recall(trained(name, {"text": SHUFFLED}, epochs=8)) + 0.1
    assert found > 0.6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_modalities", [1, 2, 3])
def test_any_number_of_modalities_trains_the_same_twice(name, n_modalities):
    parts = {"image": CONTENT, "a.b c": SHUFFLED, "text": CONTENT[:, :3]}
    features = dict(list(parts.items())[:n_modalities])
    users = np.arange(N_USERS)
    first, second = (trained(name, features, 2).score(TRAIN, users) for _ in range(2))
    assert torch.isfinite(first).all()
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", ["zero", "mean", "all"])
def test_items_without_features_have_finite_scores(name, missing):
    values = CONTENT.copy()
    known = slice(20, None) if missing != "all" else slice(0, 0)
    values[:] = values[20:].mean(axis=0) if missing == "mean" else 0.0
    values[known] = CONTENT[known]
    model = trained(name, {"text": values, "image": SHUFFLED}, 2)
    assert torch.isfinite(model.score(TRAIN, np.arange(N_USERS))).all()
    assert not model.content[0][:20].any()


@pytest.mark.parametrize("name", ["freedom", "mgcn", "gume"])
def test_an_item_without_interactions_is_scored_by_its_content(name):
    """The last item has no training interaction: users of its kind have it above the others."""
    kind = np.append(KIND, 0)
    train = csr_matrix((TRAIN.data, TRAIN.indices, TRAIN.indptr), shape=(N_USERS, N_ITEMS + 1))
    config = config_of(name, 15)
    model = build(name, train, config, {"text": features_of(kind)})
    Trainer(model, train, config.training, lambda model: {"ndcg@20": 0.5}).run(lambda report: None)
    scores = model.score(train, np.arange(N_USERS))[:, -1].numpy()
    is_fan = np.arange(N_USERS) % N_KINDS == 0
    assert scores[is_fan].mean() > scores[~is_fan].mean() + 2 * scores[~is_fan].std()


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_equals_one_without_interruption(name):
    """Also the pruned graph of an epoch depends on the seed and the epoch alone."""
    config, features = config_of(name, 4), {"text": CONTENT}

    def trainer(epochs: int) -> Trainer:
        training = config.training.model_copy(update={"max_epochs": epochs})
        model = build(name, TRAIN, config, features)
        return Trainer(model, TRAIN, training, lambda model: {"ndcg@20": 0.5})

    whole, first, second = trainer(4), trainer(2), trainer(4)
    whole.run(lambda report: None)
    first.run(lambda report: None)
    second.restore(*first.state())
    second.run(lambda report: None)
    for one, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_trains(name):
    config = config_of(name, 1)
    training = config.training.model_copy(update={"precision": "bf16"})
    model = build(name, TRAIN, config, {"text": CONTENT, "image": SHUFFLED})
    trainer = Trainer(model, TRAIN, training, lambda model: {"ndcg@20": 0.5})
    trainer.run(lambda report: None)
    assert np.isfinite(trainer.progress.history[0].loss)


# --- FREEDOM


@given(share=st.floats(0.0, 0.99), seed=st.integers(0, 99))
def test_pruning_keeps_the_expected_number_of_edges(share, seed):
    kept = prune_edges(TRAIN, share, np.random.default_rng(seed))
    assert kept.nnz == max(1, round(TRAIN.nnz * (1.0 - share)))
    assert (kept > TRAIN).nnz == 0
    assert set(kept.data.tolist()) == {1.0}


def test_pruning_keeps_edges_in_proportion_to_the_degrees():
    """One edge is kept of four: ``1/√(d_u d_i)`` gives its probability."""
    train = csr_matrix(np.array([[1, 1, 1], [0, 0, 1]], dtype=np.float32))
    weight = np.array([[3.0, 3.0, 6.0], [0.0, 0.0, 2.0]])
    expected = np.divide(1.0, np.sqrt(weight), out=np.zeros_like(weight), where=weight > 0)
    rng = np.random.default_rng(0)
    counts = sum(prune_edges(train, 0.75, rng).toarray() for _ in range(4000))
    np.testing.assert_allclose(counts / 4000, expected / expected.sum(), atol=0.03)


def test_each_epoch_prunes_anew_and_scores_use_the_whole_graph():
    model = build("freedom", TRAIN, config_of("freedom"), {"text": CONTENT})
    batches, whole = model.batches(TRAIN, 64), model.score(TRAIN, np.arange(N_USERS))
    graphs = []
    for epoch in (0, 1, 0):
        [*batches.epoch(np.random.default_rng(epoch), torch.device("cpu"))]
        graphs.append(model.pruned.matrix.to_dense())
    assert int((graphs[0] > 0).sum()) == 2 * round(TRAIN.nnz * 0.2)
    assert torch.equal(graphs[0], graphs[2])
    assert not torch.equal(graphs[0], graphs[1])
    assert torch.equal(model.score(TRAIN, np.arange(N_USERS)), whole)


def test_images_have_a_tenth_of_the_weight_as_published():
    assert default_weights(["image", "text"]) == {"image": 0.1, "text": pytest.approx(0.9)}
    assert default_weights(["text", "audio", "image"])["audio"] == pytest.approx(0.45)
    assert default_weights(["text"]) == {"text": 1.0}
    assert default_weights(["image"]) == {"image": 1.0}
    assert default_weights(["audio", "text"]) == {"audio": 0.5, "text": 0.5}


# --- BM3, MGCN, GUME


def test_bm3_moves_no_target_and_draws_no_negatives(monkeypatch):
    model = build("bm3", TRAIN, config_of("bm3", alignment=0.0, layers=0), {"text": CONTENT})
    monkeypatch.setattr(model, "negatives", None)
    pairs = Pairs(torch.tensor([0]), torch.tensor([1]))
    model.loss(pairs, torch.Generator().manual_seed(0)).backward()
    assert model.predictor.weight.grad.any()
    target = model.target(model.users, None)
    assert torch.equal(target, model.users)
    assert not target.requires_grad


def test_the_biases_of_bm3_start_within_torchs_bounds():
    settings = config_of("bm3").bm3
    one, same, other = (BM3.build(TRAIN, settings, {"text": CONTENT}, seed) for seed in (0, 0, 1))
    bias = one.predictor.bias
    assert 0.0 < float(bias.detach().abs().max()) <= 8**-0.5
    assert torch.equal(bias, same.predictor.bias)
    assert not torch.equal(bias, other.predictor.bias)


def test_the_contrast_by_hand():
    view, other = torch.eye(3)[:2] * 5, torch.tensor([[1.0, 0, 0], [3.0, 4.0, 0]])
    cosines = np.array([[1.0, 0.6], [0.0, 0.8]])
    expected = -np.log(np.exp(cosines.diagonal() / 0.5) / np.exp(cosines / 0.5).sum(axis=1)).mean()
    assert float(contrastive_loss(view, other, 0.5)) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(cosine_loss(view, other), 1 - cosines.diagonal(), rtol=1e-5)
    values, mask = torch.tensor([1.0, 5.0, 3.0]), torch.tensor([True, False, True])
    assert float(masked_mean(values, mask)) == 2.0
    assert float(masked_mean(values, torch.zeros(3, dtype=torch.bool))) == 0.0


def test_the_fuser_keeps_a_shared_view_and_lets_behavior_choose_the_rest():
    model = build("mgcn", TRAIN, config_of("mgcn"), {"image": CONTENT, "text": SHUFFLED})
    view = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    behavior = torch.zeros(5, 8)
    torch.testing.assert_close(model.fuser([view, view], behavior), view / 3)
    with torch.no_grad():
        model.fuser.score.weight.zero_()  # equal attention
        model.fuser.preferences[0].bias.fill_(100.0)  # gate of one
        model.fuser.preferences[1].bias.fill_(-100.0)  # gate of zero
    # shared 0.5 v; the rest of the first is 0.5 v
    torch.testing.assert_close(model.fuser([view, torch.zeros(5, 8)], behavior), view / 3)
    torch.testing.assert_close(model.fuser([torch.zeros(5, 8), view], behavior), view * 0.0)


@pytest.mark.parametrize("name", ["mgcn", "gume"])
def test_vectors_of_a_batch_are_those_of_all(name):
    model = build(name, TRAIN, config_of(name), {"image": CONTENT, "text": SHUFFLED})
    batch, others = Pairs(torch.tensor([3, 5]), torch.tensor([7, 1])), torch.tensor([0, 9])
    behavior, side = model.fuse(
        model.behavior(), model.modality_views(), model.rows_of(batch, others)
    )
    users, items, _ = model.embed()
    expected = torch.cat([users[batch.users], items[batch.items], items[others]])
    torch.testing.assert_close(behavior + side, expected)


def test_noise_has_its_length_and_keeps_signs():
    vectors = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    noisy = perturb(vectors, 0.1, torch.Generator().manual_seed(1))
    torch.testing.assert_close((noisy - vectors).norm(dim=1), torch.full((6,), 0.1))
    assert torch.equal(noisy.sign(), vectors.sign())


def test_the_distance_of_moments():
    one, two = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 4.0]])
    assert float(moment_distance([one, two])) == pytest.approx(8.0 - 2.0)
    assert float(moment_distance([one, two + 1])) == pytest.approx(8.0 - 2.0 + 1.0)
    assert float(moment_distance([one, one, one + 3])) == pytest.approx(2.0)
    assert float(moment_distance([one])) == 0.0


def test_gume_adds_edges_between_similar_items():
    model = build("gume", TRAIN, config_of("gume", neighbors=3), {"text": CONTENT})
    edges = model.graph.matrix.to_dense()[N_USERS:, N_USERS:] > 0
    expected = item_graphs.nearest_items(CONTENT, 3).toarray() > 0
    np.fill_diagonal(expected, False)
    assert np.array_equal(edges.numpy(), expected)
    assert expected.sum() == 2 * N_ITEMS
