"""Weights of an older model become those of a new one: the contract of every trained model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_zoo import TRAINED_BASELINES, build
from scipy.sparse import csr_matrix

from ld4mrec_cli.models.ld4mrec.build import initial_bias
from ld4mrec_cli.models.transfer import (
    ITEMS,
    USERS,
    OlderModel,
    SharedIds,
    align_signals,
    signal,
    transfer_parameters,
)

TRAINED = ["ld4mrec", *TRAINED_BASELINES]
SMALL = {
    "training__max_epochs": 3,
    "diffrec__hidden_dims": [16],
    "multvae__hidden_dim": 16,
    "multvae__latent_dim": 8,
    "bpr__factors": 8,
    "lightgcn__factors": 8,
    "vbpr__factors": 8,
    "vbpr__feature_factors": 4,
    "freedom__factors": 8,
    "bm3__factors": 8,
    "mgcn__factors": 8,
    "gume__factors": 8,
    "model__ease_content_weight": 1.0,
}


class Data:
    """Interactions and features, as a training has them."""

    def __init__(self, train, features):
        self.train = csr_matrix(train)
        self.train.sort_indices()
        self.features = features

    def model(self, world, config):
        if config.model_name != "ld4mrec":
            return build(config.model_name, self.train, config, self.features)
        own = type(world)(self.train, self.train, self.features, world.kind, 0, 0)
        return own.model(config)


def starts_of(config, data):
    if config.model_name != "ld4mrec":
        return {}
    degree = np.asarray(data.train.sum(axis=0)).ravel()
    return {"cnet.decoder_bias": initial_bias(config.model, config.training.loss, degree)}


def older(config, old_data, old_model, new_model, users, items, shape):
    """``users``, ``items``: old index → index in the new data."""
    ids = {
        USERS: SharedIds(torch.tensor(users), torch.arange(len(users)), shape[0], len(users)),
        ITEMS: SharedIds(torch.tensor(items), torch.arange(len(items)), shape[1], len(items)),
    }
    old_signals = old_model.signals()
    links = {
        signal(name): align_signals(values[torch.tensor(items)], old_signals[name])
        for name, values in new_model.signals().items()
    }
    weights = {name: value.detach() for name, value in old_model.named_parameters()}
    return OlderModel(weights, ids | links, starts_of(config, old_data))


@pytest.fixture(scope="module")
def configs(world):
    return {name: world.config(model_name=name, **SMALL) for name in TRAINED}


@pytest.mark.parametrize("name", TRAINED)
def test_every_axis_that_the_data_decide_is_declared(world, configs, name):
    """Users, items and columns of features differ in number: so do the declared axes, alone."""
    rng = np.random.default_rng(3)
    wider = {key: rng.normal(size=(45, 17)).astype(np.float32) for key in world.features}
    other = Data(rng.random((61, 45)) < 0.2, wider)
    config = configs[name]
    if name == "ld4mrec":
        changed = {"model__modality_dim": 12, "model__collaborative_rank": 9}
        config = world.config(model_name=name, **SMALL, **changed)
    first = Data(world.train, world.features).model(world, configs[name])
    models = [first, other.model(world, config)]
    axes = models[0].data_axes()
    assert axes == models[1].data_axes()
    sizes = []
    for model, data in zip(models, (world, other), strict=True):
        widths = {signal(key): value.shape[1] for key, value in model.signals().items()}
        sizes.append({USERS: data.train.shape[0], ITEMS: data.train.shape[1], **widths})
    assert all(sizes[0][part] != sizes[1][part] for part in sizes[0])
    for key, parameter in models[0].named_parameters():
        for model, size in zip(models, sizes, strict=True):
            shape = list(dict(model.named_parameters())[key].shape)
            if key in axes:
                parts = axes[key].segments
                length = sum(part if isinstance(part, int) else size[part] for part in parts)
                assert shape.pop(axes[key].axis) == length, key
            same = list(parameter.shape)
            if key in axes:
                same.pop(axes[key].axis)
            assert shape == same, key
    assert set(axes) <= {key for key, _ in models[0].named_parameters()}


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_data_in_another_order_get_the_same_scores(world, configs, name):
    """Known answer: users, items and columns are permuted, and so are the scores."""
    config = configs[name]
    rng = np.random.default_rng(5)
    old = Data(world.train, world.features)
    trained, _ = _trained(world, config, old)
    users, items = (rng.permutation(n) for n in world.train.shape)
    rows = world.train.toarray()[np.argsort(users)][:, np.argsort(items)]
    columns = {key: rng.permutation(value.shape[1]) for key, value in world.features.items()}
    features = {
        key: value[np.argsort(items)][:, columns[key]] for key, value in world.features.items()
    }
    new = Data(rows, features)
    model = new.model(world, config)
    everyone = np.arange(len(rows))
    before = model.score(new.train, everyone).clone()
    source = older(config, old, trained, model, users, items, rows.shape)
    assert all(link.is_related for key, link in source.links.items() if key.startswith("signal."))
    transfer_parameters(model, model.data_axes(), source)
    expected = trained.score(old.train, everyone)
    found = model.score(new.train, everyone)[torch.tensor(users)][:, torch.tensor(items)]
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-4)
    permuted = before[torch.tensor(users)][:, torch.tensor(items)]
    assert not torch.allclose(permuted, expected, rtol=2e-3, atol=2e-4)


def _trained(world, config, data):
    from ld4mrec_cli.training.trainer import Trainer

    model = data.model(world, config)
    trainer = Trainer(model, data.train, config.training, None)
    trainer.run(lambda report: None)
    return model, trainer


@pytest.mark.parametrize("name", TRAINED)
def test_new_users_and_items_have_the_weights_of_a_fresh_start(world, configs, name):
    config = configs[name]
    old = Data(world.train[:-5, :-4], {key: v[:-4] for key, v in world.features.items()})
    trained, _ = _trained(world, config, old)
    new = Data(world.train, world.features)
    model, fresh = new.model(world, config), new.model(world, config)
    users, items = (np.arange(n) for n in old.train.shape)
    source = older(config, old, trained, model, users, items, world.train.shape)
    transfer_parameters(model, model.data_axes(), source)
    starts = dict(fresh.named_parameters())
    for key, parameter in model.named_parameters():
        axis = model.data_axes().get(key)
        if axis is None or axis.segments not in ((USERS,), (ITEMS,)):
            continue
        shared = source.links[axis.segments[0]].n_old
        rows, first = parameter.movedim(axis.axis, 0), starts[key].movedim(axis.axis, 0)
        assert torch.equal(rows[shared:], first[shared:]), key
        if key not in source.starts:
            assert torch.equal(rows[:shared], source.parameters[key].movedim(axis.axis, 0)), key
    if name == "ld4mrec":  # what is learned is carried over, on top of today's popularity
        learned = trained.cnet.decoder_bias - source.starts["cnet.decoder_bias"]
        expected = fresh.cnet.decoder_bias[: len(items)] + learned
        torch.testing.assert_close(model.cnet.decoder_bias[: len(items)], expected)


def test_a_rotated_basis_is_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    old = torch.tensor(rng.normal(size=(200, 6)), dtype=torch.float32)
    rotation = torch.linalg.qr(torch.tensor(rng.normal(size=(6, 6)), dtype=torch.float32)).Q
    found = align_signals(old @ rotation, old)
    torch.testing.assert_close(found.map, rotation.T, rtol=0, atol=1e-5)
    assert found.share == pytest.approx(1.0, abs=1e-6)
    noise = align_signals(torch.tensor(rng.normal(size=(200, 6)), dtype=torch.float32), old)
    assert not noise.is_related
    # Columns that are more by one: the old space is found in the new one.
    wider = align_signals(torch.cat([old @ rotation, torch.zeros(200, 1)], dim=1), old)
    assert wider.map.shape == (7, 6)
    assert wider.share == pytest.approx(1.0, abs=1e-6)
    # Few items determine a map for themselves, not for others.
    few = (old @ rotation)[:4], old[:4]
    torch.testing.assert_close(few[0] @ align_signals(*few).map, few[1], rtol=0, atol=1e-5)
    assert align_signals(*few).is_related
    assert not align_signals(*few, is_sample=True).is_related
    same = align_signals(old[:8], old[:8])
    assert torch.equal(same.map, torch.eye(6))


def test_weights_of_another_shape_are_refused(world, configs):
    config = configs["multvae"]
    data = Data(world.train, world.features)
    narrower = world.config(model_name="multvae", **{**SMALL, "multvae__hidden_dim": 9})
    old = data.model(world, narrower)
    model = data.model(world, config)
    users, items = (np.arange(n) for n in world.train.shape)
    source = older(config, data, old, model, users, items, world.train.shape)
    with pytest.raises(ValueError, match=r"'encoder' is \(38, 9\) where \(38, 16\) is needed"):
        transfer_parameters(model, model.data_axes(), source)
