from __future__ import annotations

import numpy as np
import pytest
import torch
from model_zoo import fit
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ld4mrec import mixture
from ld4mrec_cli.models.ld4mrec.build import log_popularity
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.models.ops.rng import BatchRNG, dropout
from ld4mrec_cli.models.ops.sparse_low_rank import SparseLowRank
from ld4mrec_cli.models.ops.sparse_rows import SparseRows
from ld4mrec_cli.utils.errors import ConfigError

NOISY = {"diffusion.noise_scale": 20.0}


@pytest.fixture(scope="module")
def trained(world) -> LD4MRec:
    return world.trained(world.config())[0]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_scores_are_finite_and_cover_the_catalog(world, trained):
    scores = trained.score(world.train)
    assert scores.shape == world.train.shape
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


def test_one_step_inference_is_deterministic(world, trained):
    torch.manual_seed(1)
    first = trained.score(world.train)
    torch.manual_seed(2)
    assert torch.equal(trained.score(world.train), first)


@pytest.mark.parametrize("changed", [{}, NOISY, {**NOISY, "diffusion.inference_steps": 3}])
def test_a_row_scores_the_same_alone_and_in_any_batch(world, changed):
    model = world.model(world.config_of(changed))
    together = model.score(world.train)
    order = np.random.default_rng(0).permutation(world.train.shape[0])
    shuffled = model.score(world.train[order])
    torch.testing.assert_close(shuffled, together[order], atol=1e-5, rtol=1e-5)
    alone = torch.cat([model.score(world.train[user]) for user in range(len(together))])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def test_without_modalities_only_the_collaborative_signal_is_left(world):
    config = world.config()
    signals = ItemSignals.compute(config.model, world.train, {}, 0)
    assert list(signals.bases) == ["collaborative"]
    model = LD4MRec(config.model, config.diffusion, config.training, signals)
    assert torch.isfinite(model.score(world.train)).all()


@pytest.mark.parametrize("name", ["items", "keys", "type", "weight", "names", "forward", "float"])
def test_a_modality_may_have_any_plain_name(world, name):
    config = world.config()
    signals = ItemSignals.compute(config.model, world.train, {name: world.features["image"]}, 0)
    model = LD4MRec(config.model, config.diffusion, config.training, signals)
    loss = model.loss(SparseRows.from_csr(world.train), generator())
    assert torch.isfinite(loss)
    assert torch.isfinite(model.score(world.train)).all()


def test_an_unknown_guidance_signal_is_refused(world):
    with pytest.raises(ValueError, match="'smell'"):
        world.model(world.config(model__guidance=("smell",)))


def test_an_empty_row_gets_a_popularity_like_answer(world):
    """With biases alone, an untrained model scores an empty row by popularity."""
    model = world.model(world.config(model__item_side=False, model__ease=False))
    with torch.no_grad():
        model.cnet.decoder.zero_()
    empty = csr_matrix((1, world.train.shape[1]), dtype=np.float32)
    degree = np.asarray(world.train.sum(axis=0)).ravel()
    torch.testing.assert_close(model.score(empty)[0], log_popularity(degree))


def test_log_popularity_is_the_log_of_the_smoothed_share():
    actual = log_popularity(np.array([0.0, 1.0, 5.0]))
    torch.testing.assert_close(actual.exp(), torch.tensor([1 / 9, 2 / 9, 6 / 9]))


@pytest.mark.parametrize(
    ("changed", "starts_at_popularity"),
    [({}, True), ({"model.popularity_bias": False}, False), ({"training.loss": "mse"}, False)],
)
def test_the_output_bias_starts_at_popularity_only_where_it_should(
    world, changed, starts_at_popularity
):
    model = world.model(world.config_of(changed))
    degree = np.asarray(world.train.sum(axis=0)).ravel()
    expected = log_popularity(degree) if starts_at_popularity else torch.zeros(len(degree))
    assert torch.equal(model.cnet.decoder_bias.detach(), expected)


@pytest.mark.parametrize("source", ["corrupted", "clean"])
def test_training_takes_guidance_from_the_row_that_the_config_names(world, source):
    model = world.model(world.config(model__guidance_source=source))
    inputs: list[SparseRows] = []
    model.cnet.signals.register_forward_pre_hook(
        lambda module, arguments: inputs.append(arguments[0])
    )
    clean = SparseRows.from_csr(world.train)
    model.loss(clean, generator())
    assert len(inputs) == 1
    assert torch.equal(inputs[0].dense(), clean.dense()) == (source == "clean")


def test_item_weights_are_left_out_of_a_catalog_that_is_too_large(world):
    assert world.signals(world.config()).ease_weights is not None
    large = world.signals(world.config(model__ease_max_items=10))
    assert isinstance(large.ease_weights, SparseLowRank)
    assert world.signals(world.config(model__ease=False)).ease_weights is None


def test_the_initial_weights_depend_on_the_seed_alone(world):
    torch.manual_seed(1)
    first = dict(world.model(world.config()).named_parameters())
    torch.manual_seed(2)
    second = dict(world.model(world.config()).named_parameters())
    other = dict(world.model(world.config(training__seed=1)).named_parameters())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["cnet.encoder"], other["cnet.encoder"])


def test_every_parameter_is_trained_when_all_parts_are_on(world):
    model = world.model(world.config_of({**NOISY, "training.loss": "multinomial"}))
    rows = SparseRows.from_csr(world.train)
    source = generator()
    for _ in range(4):  # t = 0 and t > 0 must both be drawn for the time embedding
        model.loss(rows, source).backward()
    still = [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert still == []


def test_dropout_scales_what_it_keeps():
    x = torch.ones(200, 100)
    dropped = dropout(x, 0.25, BatchRNG(generator(), 200))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert dropout(x, 0.25, None) is x
    assert dropout(x, 0.0, BatchRNG(generator(), 200)) is x


@pytest.mark.parametrize("item_side", [True, False])
def test_content_ranks_items_that_nobody_has_seen_in_training(world, item_side):
    """Two items without interactions; each has the features of one taste of users."""
    taste, right = np.arange(world.train.shape[0]) % 3, []
    for seed in range(3):
        config = world.config(
            model__item_side=item_side, training__max_epochs=15, training__seed=seed
        )
        scores = world.trained(config)[0].score(world.train).numpy()
        margin = scores[:, world.cold_like] - scores[:, world.cold_unlike]
        right.append(np.concatenate([margin[taste == 0] > 0, margin[taste == 1] < 0]).mean())
    if item_side:
        assert min(right) > 0.9
    else:
        assert np.mean(right) < 0.9  # nothing is known of them


def test_factor_scores_are_mixed_with_the_softmax_at_inference(world):

    settings = {"model.ials": True, "model.ials_scale": 0.7, "model.ials_dim": 4}
    config = world.config_of({**settings, "model.ease": False})
    model, plain = world.model(config), world.model(world.config(model__ease=False))
    ials = fit(
        "ials",
        world.train,
        world.config(
            ials__factors=4,
            ials__unobserved_weight=0.004,
            ials__regularization=0.4,
            ials__frequency_exponent=0.5,
        ),
    )
    expected = plain.score(world.train).softmax(dim=1) + 0.7 * ials.score(world.train).clamp_min(
        0.0
    )
    torch.testing.assert_close(model.score(world.train), expected)
    assert model.factored_scores(world.train) is None
    assert plain.factored_scores(world.train) is not None
    large = world.signals(world.config(model__ials=True, model__ease_max_items=10))
    assert large.ials_items is not None  # no bound


@pytest.mark.parametrize(
    "changed", [{}, {"training.loss": "mse"}, {"training.loss": "mse", **NOISY}], ids=str
)
def test_sparse_item_weights_of_all_items_act_as_dense_ones(world, changed):
    small = {"model.ease_max_items": 10, "model.ease_neighbors": 10_000}
    content = {"model.ease_content_weight": {"image": 3.0}, **changed}
    dense, sparse = (world.model(world.config_of({**content, **form})) for form in ({}, small))
    torch.testing.assert_close(
        sparse.score(world.train), dense.score(world.train), atol=1e-5, rtol=1e-5
    )
    rows = SparseRows.from_csr(world.train)
    torch.testing.assert_close(
        sparse.loss(rows, generator()), dense.loss(rows, generator()), atol=1e-5, rtol=1e-5
    )
    assert dense.score(world.train)[:, world.cold_like].std() > 0.0


@pytest.mark.parametrize("ease", [False, True])
@pytest.mark.parametrize("ials", [False, True])
@pytest.mark.parametrize("trend", [False, True])
@torch.inference_mode()
def test_a_mixture_scores_blocks_of_items_as_the_whole(world, monkeypatch, ease, ials, trend):
    """A large catalog is ranked without all scores in memory."""
    monkeypatch.setattr(mixture, "LARGE_CATALOG", 10)
    monkeypatch.setattr(mixture, "BLOCK_SIZE", 7)
    content = {"model.ease_content_weight": 3.0, "model.ease_neighbors": 6}
    settings = {"model.ease": ease, "model.ials": ials, "model.ease_max_items": 10, **content}
    model = world.model(world.config_of(settings))
    n_items = world.train.shape[1]
    if trend:
        model.set_trend(np.linspace(-1.0, 1.0, n_items, dtype=np.float32))
    whole = model.score(world.train)
    blocks = model.factored_scores(world.train)
    assert blocks.n_items == n_items
    parts = [blocks.block(start, min(start + 9, n_items)) for start in range(0, n_items, 9)]
    scores = torch.cat([part.scores() for part in parts], dim=1)
    if not ease and not ials:
        scores, whole = scores.softmax(dim=1), whole.softmax(dim=1)
    torch.testing.assert_close(scores, whole, atol=1e-6, rtol=1e-5)
    nested = blocks.block(9, 27).block(3, 8).scores()
    torch.testing.assert_close(nested, blocks.block(12, 17).scores())


@torch.inference_mode()
def test_the_trend_multiplies_the_scores_by_a_power_of_the_ratio(world):
    model = world.model(world.config(model__ials=True))
    plain = model.score(world.train)
    ratio = np.linspace(0.5, 2.0, world.train.shape[1], dtype=np.float32)
    model.set_trend(np.log(ratio))
    torch.testing.assert_close(model.score(world.train), plain * torch.from_numpy(ratio))
    model.set_scales({"trend": 2.0})
    torch.testing.assert_close(model.score(world.train), plain * torch.from_numpy(ratio) ** 2)
    assert set(model.fit_scales(lambda: -abs(model.mixture.trend_scale - 0.5))) >= {"trend"}
    assert model.mixture.trend_scale == 0.5
    model.set_trend(None)
    model.set_scales({"ease": 1.0, "ials": 1.0})
    torch.testing.assert_close(model.score(world.train), plain)
    with pytest.raises(KeyError, match="trend"):
        model.set_scales({"trend": 1.0})


def test_dense_item_weights_are_scored_all_at_once(world, monkeypatch):
    monkeypatch.setattr(mixture, "LARGE_CATALOG", 10)
    assert world.model(world.config()).factored_scores(world.train) is None


def test_factor_scores_need_the_multinomial_loss(world):
    with pytest.raises(ConfigError, match=r"model\.ials needs training\.loss=multinomial"):
        world.config(model__ials=True, training__loss="mse", training__target="all")
