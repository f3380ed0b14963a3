"""What all tests share: a small world in memory, a small prepared dataset on disk, one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from matplotlib.figure import Figure
from model_zoo import TRAINED_BASELINES, build
from scipy.sparse import csr_matrix

from ld4mrec_cli.config import Config, config_from_mapping
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic
from ld4mrec_cli.evaluation.evaluate import evaluate
from ld4mrec_cli.models.base import TrainableRecommender
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.models.ld4mrec.signals import ItemSignals
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.training.trainer import EpochReport, Trainer

torch.set_num_threads(1)
PNG = b"\x89PNG\r\n\x1a\n"
settings.register_profile("quick", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("quick")

SMALL: dict[str, Any] = {
    "training.device": "cpu",
    "training.max_epochs": 2,
    "training.batch_size": 16,
    "training.learning_rate": 0.01,
    "training.ema_decay": 0.9,
    "model.hidden_dim": 16,
    "model.time_dim": 8,
    "model.collaborative_rank": 8,
    "model.modality_dim": 8,
    "model.ease_ridge": 10.0,
    "model.ease_content_weight": 0.0,
    "model.ease_nonnegative": False,
    "model.ials": False,
    "model.ials_unobserved_weight": 0.004,
    "model.ials_ridge": 0.4,
    "model.ials_frequency_exponent": 0.5,
    "cfgan.generator_dim": 16,
    "cfgan.discriminator_dim": 8,
}
"""Settings that make every test fast; a test's own settings go on top."""


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``{"model.hidden_dim": 8}`` as ``{"model": {"hidden_dim": 8}}``."""
    values: dict[str, Any] = {}
    for name, value in settings.items():
        *sections, key = name.split(".")
        target = values
        for section in sections:
            target = target.setdefault(section, {})
        target[key] = value
    return values


@pytest.fixture(autouse=True)
def _draw_no_pictures(request, monkeypatch):
    """A PNG is its first eight bytes, except in tests marked ``pictures``: drawing is slow."""
    if request.node.get_closest_marker("pictures"):
        return
    draw = Figure.savefig

    def save(figure, target, *, format, **options):
        if format == "png":
            Path(target).write_bytes(PNG)
        else:
            draw(figure, target, format=format, **options)

    monkeypatch.setattr(Figure, "savefig", save)


@dataclass(frozen=True)
class World:
    """Users who like one of three kinds of items; ``image`` shows the kind, ``text`` is noise.

    The last two items have no training interaction: ``cold_like`` of kind 0, ``cold_unlike`` of 1.
    """

    train: csr_matrix
    valid: csr_matrix
    features: dict[str, np.ndarray]
    kind: np.ndarray
    cold_like: int
    cold_unlike: int

    def config(self, **changed: Any) -> Config:
        """Small settings; a double underscore stands for the dot: ``model__hidden_dim=8``."""
        return self.config_of({name.replace("__", "."): value for name, value in changed.items()})

    def config_of(self, changed: Mapping[str, Any]) -> Config:
        """Small settings with the ``changed`` ones, by dotted name."""
        return config_from_mapping(nested({**SMALL, **changed}))

    def signals(self, config: Config) -> ItemSignals:
        """Item signals of the training matrix and both modalities."""
        return ItemSignals.compute(config.model, self.train, self.features, config.training.seed)

    def model(self, config: Config) -> LD4MRec:
        """An untrained model."""
        return LD4MRec(config.model, config.diffusion, config.training, self.signals(config))

    def trainer(
        self,
        config: Config,
        validate: Callable[[TrainableRecommender], Mapping[str, float]] | None = None,
    ) -> Trainer:
        """A trainer of an untrained model, by default validated on held-out interactions."""
        name = config.model_name
        model = (
            build(name, self.train, config, self.features)
            if name in TRAINED_BASELINES
            else self.model(config)
        )
        return Trainer(model, self.train, config.training, validate or self.validate)

    def validate(self, model: TrainableRecommender) -> dict[str, float]:
        """Metrics on the held-out interactions."""
        return evaluate(model, self.train, self.valid, self.train, [5, 20], 64).metrics

    def trained(self, config: Config) -> tuple[TrainableRecommender, list[EpochReport]]:
        """A model after training, with its present weights, and the epoch reports."""
        trainer = self.trainer(config)
        trainer.run(lambda report: None)
        return trainer.model, trainer.progress.history


@pytest.fixture(scope="session")
def world() -> World:
    rng = np.random.default_rng(0)
    n_users, n_warm, n_kinds = 48, 36, 3
    kind = np.concatenate([np.arange(n_warm) % n_kinds, [0, 1]])
    centres = rng.normal(size=(n_kinds, 12))
    image = centres[kind] + 0.3 * rng.normal(size=(len(kind), 12))
    taste = np.arange(n_users) % n_kinds
    shares = np.where(kind[:n_warm] == taste[:, None], 0.5, 0.03)
    drawn = np.zeros((n_users, len(kind)), dtype=bool)
    drawn[:, :n_warm] = rng.random(shares.shape) < shares
    held_out = drawn & (rng.random(drawn.shape) < 0.25)
    return World(
        train=csr_matrix((drawn & ~held_out).astype(np.float32)),
        valid=csr_matrix(held_out.astype(np.float32)),
        features={
            "image": image.astype(np.float32),
            "text": rng.normal(size=(len(kind), 6)).astype(np.float32),
        },
        kind=kind,
        cold_like=n_warm,
        cold_unlike=n_warm + 1,
    )


@pytest.fixture(scope="session")
def planted_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only dataset directory with planted tastes (about 400 users, 230 items)."""
    root = tmp_path_factory.mktemp("planted")
    raw = root / "raw"
    raw.mkdir()
    size = SyntheticSize(
        users=400, items=240, interactions_per_user=10, image_dim=16, clusters_per_user=1
    )
    write_synthetic(raw, seed=0, size=size)
    prepare(raw, root / "planted", PrepareConfig(text_dim=16))
    return root / "planted"


@pytest.fixture
def planted_config(planted_dataset: Path) -> Callable[..., Config]:
    """Makes small configs for ``planted_dataset``; a double underscore stands for the dot."""

    def make(**changed: Any) -> Config:
        settings = {
            **SMALL,
            "data.path": str(planted_dataset),
            "training.batch_size": 64,
            "training.learning_rate": 0.002,
            **{name.replace("__", "."): value for name, value in changed.items()},
        }
        return config_from_mapping(nested(settings))

    return make
