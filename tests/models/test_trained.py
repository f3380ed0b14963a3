"""Known answers of the baselines that are trained by gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from model_zoo import TRAINED_BASELINES
from model_zoo import build as build_model
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config, config_from_mapping, iter_sections, model_text
from ld4mrec_cli.evaluation.evaluate import evaluate
from ld4mrec_cli.evaluation.ranking import rank
from ld4mrec_cli.models.base import TrainableRecommender, load_parameters
from ld4mrec_cli.models.batches import PairBatches, Pairs
from ld4mrec_cli.models.bpr import BPR
from ld4mrec_cli.models.diffrec import DiffRec
from ld4mrec_cli.models.lightgcn import LightGCN
from ld4mrec_cli.models.ops.schedule import LinearSchedule
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.models.pairwise import FactorModel
from ld4mrec_cli.models.registry import check_trainable
from ld4mrec_cli.training.trainer import Trainer
from ld4mrec_cli.utils.errors import ConfigError, UserError

N_BLOCKS, SIZE = 4, 6
QUICK = {
    "max_epochs": 60,
    "patience": 60,
    "batch_size": 64,
    "learning_rate": 0.02,
    "ema_decay": 0.0,
}
SMALL: dict[str, dict[str, Any]] = {
    "bpr": {"factors": 8},
    "lightgcn": {"factors": 8},
    "vbpr": {"factors": 4, "feature_factors": 4},
    "freedom": {"factors": 8, "neighbors": 4},
    "bm3": {"factors": 8},
    "mgcn": {"factors": 8, "neighbors": 4},
    "gume": {"factors": 8, "neighbors": 4},
    "multvae": {"hidden_dim": 16, "latent_dim": 8, "kl_anneal_steps": 100},
    "diffrec": {"hidden_dims": [16], "noise_scale": 0.5, "noise_min": 0.1, "noise_max": 0.5},
    "cfgan": {"generator_dim": 16, "discriminator_dim": 8},
}
LONGER = {"cfgan": {"max_epochs": 200, "patience": 200, "batch_size": 8}}
"""Training of models that learn slowly."""


def planted_blocks() -> csr_matrix:
    """Users and items in blocks; each user has all items of the block but one, the diagonal."""
    dense = np.kron(np.eye(N_BLOCKS), np.ones((SIZE, SIZE)))
    return csr_matrix((dense - np.eye(N_BLOCKS * SIZE)).astype(np.float32))


BLOCKS = planted_blocks()
KIND = {
    "image": np.kron(np.eye(N_BLOCKS), np.ones((SIZE, 1))).astype(np.float32),
    "text": np.kron([[2, 0], [2, 0], [0, 1], [0, 1]], np.ones((SIZE, 1))).astype(np.float32),
}
"""The first shows the block, the second a pair of blocks."""


def config_of(name: str, training: dict[str, Any] | None = None, **settings: Any) -> Config:
    return config_from_mapping(
        {
            "model_name": name,
            "training": {**QUICK, **(training or {})},
            name: {**SMALL[name], **settings},
        }
    )


def build(name: str, config: Config) -> TrainableRecommender:
    return build_model(name, BLOCKS, config, KIND)


def trained(name: str, config: Config) -> tuple[TrainableRecommender, list[float]]:
    trainer = Trainer(build(name, config), BLOCKS, config.training, lambda model: {"ndcg@20": 0.5})
    trainer.run(lambda report: None)
    return trainer.model, [report.loss for report in trainer.progress.history]


@pytest.mark.parametrize("name", TRAINED_BASELINES)
def test_the_withheld_item_of_a_block_ranks_first(name):
    model, losses = trained(name, config_of(name, LONGER.get(name)))
    users = np.arange(BLOCKS.shape[0])
    items, _ = rank(model, BLOCKS, BLOCKS, 1, users)
    assert np.mean(items[:, 0] == users) > 0.9
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


SETTINGS = [
    ("bpr", "factors", 3),
    ("bpr", "regularization", 1.0),
    ("lightgcn", "factors", 3),
    ("lightgcn", "layers", 1),
    ("lightgcn", "regularization", 1.0),
    ("vbpr", "factors", 3),
    ("vbpr", "feature_factors", 3),
    ("vbpr", "regularization", 1.0),
    ("freedom", "factors", 3),
    ("freedom", "layers", 1),
    ("freedom", "item_layers", 2),
    ("freedom", "neighbors", 2),
    ("freedom", "modality_weights", {"text": 1.0}),
    ("freedom", "edge_dropout", 0.0),
    ("freedom", "modality_loss", 1.0),
    ("bm3", "factors", 3),
    ("bm3", "layers", 2),
    ("bm3", "target_dropout", 0.0),
    ("bm3", "alignment", 0.0),
    ("bm3", "regularization", 1.0),
    ("mgcn", "factors", 3),
    ("mgcn", "layers", 1),
    ("mgcn", "item_layers", 2),
    ("mgcn", "neighbors", 2),
    ("mgcn", "contrast", 1.0),
    ("mgcn", "temperature", 1.0),
    ("mgcn", "regularization", 1.0),
    ("gume", "factors", 3),
    ("gume", "layers", 1),
    ("gume", "item_layers", 1),
    ("gume", "neighbors", 2),
    ("gume", "modality_alignment", 10.0),
    ("gume", "behavior_alignment", 1.0),
    ("gume", "behavior_temperature", 1.0),
    ("gume", "user_contrast", 1.0),
    ("gume", "user_temperature", 1.0),
    ("gume", "perturbation", 0.5),
    ("gume", "regularization", 1.0),
    ("gume", "extended_regularization", 0.0),
    ("multvae", "hidden_dim", 8),
    ("multvae", "latent_dim", 4),
    ("multvae", "dropout", 0.0),
    ("multvae", "kl_cap", 0.0),
    ("multvae", "kl_anneal_steps", 3),
    ("diffrec", "hidden_dims", [8, 8]),
    ("diffrec", "time_dim", 4),
    ("diffrec", "dropout", 0.0),
    ("diffrec", "steps", 2),
    ("diffrec", "inference_steps", 1),
    ("diffrec", "noise_scale", 0.9),
    ("diffrec", "noise_min", 0.3),
    ("diffrec", "noise_max", 0.9),
    ("diffrec", "sampling_steps", 3),
    ("diffrec", "reweight", False),
    ("cfgan", "generator_dim", 8),
    ("cfgan", "generator_layers", 2),
    ("cfgan", "discriminator_dim", 4),
    ("cfgan", "discriminator_layers", 2),
    ("cfgan", "zero_ratio", 0.1),
    ("cfgan", "zero_weight", 1.0),
    ("cfgan", "mask_ratio", 0.1),
    ("cfgan", "regularization", 1.0),
]


@pytest.mark.parametrize(("name", "field", "value"), SETTINGS)
def test_every_setting_of_a_trained_baseline_acts(name, field, value):
    users, short = np.arange(BLOCKS.shape[0]), {"max_epochs": 4}
    usual, _ = trained(name, config_of(name, short))
    changed, _ = trained(name, config_of(name, short, **{field: value}))
    assert (usual.score(BLOCKS, users) - changed.score(BLOCKS, users)).abs().max() > 1e-4


def test_the_table_of_settings_is_complete():
    fields = {
        (name, field)
        for name, section in iter_sections()
        if name in TRAINED_BASELINES
        for field in section.model_fields
    }
    assert {(name, field) for name, field, _ in SETTINGS} == fields


@pytest.mark.parametrize("name", TRAINED_BASELINES)
def test_the_published_training_settings_are_those_of_a_bare_name_and_yield_to_the_users(name):
    assert model_text(name)
    published = config_from_mapping({"model_name": name})
    assert (published.training.ema_decay, published.training.batch_size) != (0.99, 256)
    assert published.training.ema_decay == 0.0
    config = config_from_mapping({"model_name": name, "training": {"learning_rate": 0.5}})
    assert config.training.learning_rate == 0.5
    assert config.training.batch_size == published.training.batch_size


def test_negatives_are_items_without_an_interaction():
    model = BPR(BLOCKS, 4, 0.0)
    users = torch.arange(BLOCKS.shape[0]).repeat(50)
    negatives = model.negatives(users, torch.Generator().manual_seed(0))
    observed = BLOCKS.toarray()[users.numpy(), negatives.numpy()]
    assert observed.mean() < 0.001
    assert set(negatives.tolist()) == set(range(BLOCKS.shape[1]))


def test_pairs_of_an_epoch_are_the_interactions_once_each():
    batches = PairBatches(BLOCKS, 7)
    actual = [*batches.epoch(np.random.default_rng(0), torch.device("cpu"))]
    assert len(actual) == len(batches) == -(-BLOCKS.nnz // 7)
    pairs = sorted(
        (u, i)
        for batch in actual
        for u, i in zip(batch.users.tolist(), batch.items.tolist(), strict=True)
    )
    assert pairs == sorted(zip(*(part.tolist() for part in BLOCKS.nonzero()), strict=True))


def test_the_loss_of_bpr_by_hand():
    model = BPR(csr_matrix(np.eye(2, dtype=np.float32)), 1, regularization=0.5)
    with torch.no_grad():
        model.users.copy_(torch.tensor([[2.0], [1.0]]))
        model.items.copy_(torch.tensor([[1.0], [-1.0]]))
        model.bias.copy_(torch.tensor([0.5, 0.0]))
    # User 0 has item 0, so item 1 is drawn: difference 2·(1 + 1) + 0.5; squares 4 + 1 + 1.
    loss = model.loss(Pairs(torch.tensor([0]), torch.tensor([0])), torch.Generator().manual_seed(0))
    assert float(loss.detach()) == pytest.approx(np.log1p(np.exp(-4.5)) + 0.5 * 6 / 2)


def test_lightgcn_propagates_as_dense_matrices_do():
    model = LightGCN(BLOCKS[:, :20].tocsr(), 3, layers=2, regularization=0.0)
    with torch.no_grad():
        model.vectors.normal_(generator=torch.Generator().manual_seed(0))
    dense = torch.from_numpy(BLOCKS[:, :20].toarray())
    degree_u, degree_i = dense.sum(1).clamp_min(1), dense.sum(0).clamp_min(1)
    n = len(dense)
    graph = torch.zeros(n + 20, n + 20)
    graph[:n, n:] = dense / degree_u.sqrt()[:, None] / degree_i.sqrt()
    graph += graph.T.clone()
    expected = sum(torch.linalg.matrix_power(graph, k) @ model.vectors for k in range(3)) / 3
    users, items, bias = model.embed()
    torch.testing.assert_close(torch.cat([users, items]), expected)
    assert not bias.any()
    torch.testing.assert_close(
        torch.autograd.grad(torch.cat(model.embed()[:2]).square().sum(), model.vectors)[0],
        torch.autograd.grad(expected.square().sum(), model.vectors)[0],
    )


def test_vbpr_scores_by_its_features():
    config = config_of("vbpr")
    model = build_model("vbpr", BLOCKS, config, KIND)
    with torch.no_grad():
        model.users.zero_()
        model.items.zero_()
    scores = model.score(BLOCKS, np.arange(BLOCKS.shape[0]))
    within = scores.reshape(-1, N_BLOCKS, SIZE)
    torch.testing.assert_close(within, within[:, :, :1].expand_as(within))
    assert scores.std() > 0.01


def test_multvae_weighs_the_divergence_by_the_steps_done():
    config = config_of("multvae", kl_cap=0.1, kl_anneal_steps=10, dropout=0.0)
    model, rows = build_model("multvae", BLOCKS, config, {}), SparseRows.from_csr(BLOCKS)
    losses = [float(model.loss(rows, torch.Generator().manual_seed(0)).detach()) for _ in range(4)]
    assert losses[1] > losses[0]
    assert losses[1] == pytest.approx(losses[2], rel=1e-6)  # 1/10 is the cap
    assert model.training_state()["updates"] == 4


def test_diffrec_runs_all_its_steps_back():
    config = config_of("diffrec", steps=3)
    model = build_model("diffrec", BLOCKS, config, {})
    requests = []
    predict = model.predict
    model.predict = lambda x, t, generator=None: (
        requests.append(int(t[0])) or predict(x, t, generator)
    )
    scores = model.score(BLOCKS)
    assert requests == [3, 2, 1]
    torch.testing.assert_close(
        scores, predict(_before_last(model), torch.ones(24, dtype=torch.int64)).detach()
    )


def test_diffrec_runs_fewer_steps_back_where_it_should():
    config = config_of("diffrec", steps=3, inference_steps=1)
    model = build_model("diffrec", BLOCKS, config, {})
    rows = torch.from_numpy(BLOCKS.toarray())
    expected = model.predict(rows, torch.ones(24, dtype=torch.int64)).detach()
    torch.testing.assert_close(model.score(BLOCKS), expected)
    with pytest.raises(ConfigError, match="inference_steps must not exceed steps"):
        config_of("diffrec", steps=3, inference_steps=4)


def _before_last(model: DiffRec) -> torch.Tensor:
    x = torch.from_numpy(BLOCKS.toarray())
    for step in (3, 2):
        x = model.schedule.posterior_mean(
            x, type(model).predict(model, x, torch.full((24,), step)).detach(), step
        )
    return x


def test_factor_models_refuse_histories_and_serve_users_by_index():
    tensors = {
        "user_factors": torch.tensor([[1.0], [2.0]]),
        "item_factors": torch.tensor([[1.0], [3.0]]),
        "item_bias": torch.tensor([0.0, 1.0]),
    }
    scorer, nothing = FactorModel(tensors), csr_matrix((1, 2), dtype=np.float32)
    assert scorer.score(nothing, np.array([1])).tolist() == [[2.0, 7.0]]
    with pytest.raises(UserError, match="scores its training users only"):
        scorer.score(nothing)


def test_vbpr_without_features_is_refused():
    with pytest.raises(ConfigError, match="vbpr needs item features"):
        check_trainable("vbpr", 10, ())
    check_trainable("vbpr", 10, ("image",))
    check_trainable("bpr", 10, ())


def test_lightgcn_beats_matrix_factorization_where_users_are_sparse():
    """Each user has two of ten items of a kind: only neighbors of neighbors have the others."""
    rng = np.random.default_rng(0)
    dense = np.zeros((120, 60), dtype=np.float32)
    held = np.zeros_like(dense)
    for user in range(120):
        chosen = rng.choice(10, 3, replace=False) + 10 * (user % 6)
        dense[user, chosen[:2]], held[user, chosen[2]] = 1.0, 1.0
    train, test = csr_matrix(dense), csr_matrix(held)
    recall = {}
    for name in ("bpr", "lightgcn"):
        config = config_of(name, {"max_epochs": 20})
        trainer = Trainer(
            build_model(name, train, config), train, config.training, lambda m: {"ndcg@20": 0.5}
        )
        trainer.run(lambda report: None)
        recall[name] = evaluate(trainer.model, train, test, train, [8], 64).metrics["recall@8"]
    assert recall["lightgcn"] > recall["bpr"] + 0.1


def test_scores_follow_the_parameters_however_these_are_changed():
    """Factors are cached in an evaluation; a step or a loaded state clears the cache."""
    config, users = config_of("lightgcn", {"max_epochs": 1}), np.arange(BLOCKS.shape[0])
    model = build("lightgcn", config)
    trainer = Trainer(
        model,
        BLOCKS,
        config.training,
        lambda model: {"ndcg@20": float(model.score(BLOCKS, users)[0, 0])},
    )
    before = model.score(BLOCKS, users)
    start = {name: tensor.clone() for name, tensor in model.named_parameters()}
    trainer.run(lambda report: None)
    after = model.score(BLOCKS, users)
    assert (after - before).abs().max() > 1e-4
    torch.testing.assert_close(after, FactorModel(model.served_weights()).score(BLOCKS, users))
    load_parameters(model, {name: tensor.detach() for name, tensor in start.items()})
    assert torch.equal(model.score(BLOCKS, users), before)


@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_each_validation_sees_the_weights_of_its_epoch(name, decay):
    """Not cached factors of an earlier epoch: fused optimizers do not change versions."""
    config = config_of(name, {"max_epochs": 4, "ema_decay": decay, "patience": 9})
    users, scores = np.arange(len(KIND["image"])), []

    def validate(model: TrainableRecommender) -> dict[str, float]:
        fresh = build(name, config)
        load_parameters(fresh, dict(model.named_parameters()))
        scores.append(model.score(BLOCKS, users).clone())
        torch.testing.assert_close(scores[-1], fresh.score(BLOCKS, users), rtol=1e-4, atol=1e-5)
        return {"ndcg@20": float(len(scores))}

    Trainer(build(name, config), BLOCKS, config.training, validate).run(lambda report: None)
    assert len(scores) == 4
    assert not torch.equal(scores[0], scores[-1])


def test_the_widths_of_diffrec_are_mirrored_around_the_narrowest():
    model = build_model("diffrec", BLOCKS, config_of("diffrec", hidden_dims=[8, 16]), {})
    assert [(layer.in_features, layer.out_features) for layer in model.layers] == [
        (34, 16),
        (16, 8),
        (8, 16),
        (16, 24),
    ]


@pytest.mark.parametrize(("scale", "low"), [(1e-5, 5e-4), (1e-4, 5e-4), (0.1, 0.0)])
def test_the_weights_of_the_steps_are_those_of_float64(scale, low):
    schedule = LinearSchedule(5, scale, low, 0.005)
    masked = scale * np.linspace(low, 0.005, 5)
    with np.errstate(divide="ignore"):
        ratio = (1 - masked) / masked
    expected = np.concatenate([[1.0, 1.0], ratio[:-1] - ratio[1:]])
    expected[~np.isfinite(expected)] = 1.0
    np.testing.assert_allclose(schedule.snr_drop.numpy(), expected, rtol=1e-5)


def test_the_penalty_of_vbprs_projection_is_per_interaction():
    """As its vectors', it must not fade with the size of the batch."""
    model = build_model("vbpr", BLOCKS, config_of("vbpr"), KIND)
    with torch.no_grad():
        for parameter in (model.users, model.feature_users, model.items):
            parameter.zero_()
    users = torch.arange(10)
    penalty = model.penalty(users, users, users + 1) / 10
    torch.testing.assert_close(penalty, model.projection.square().sum() / 2)
