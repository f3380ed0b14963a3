"""The contract that every recommender keeps: LD4MRec and each baseline, trained and served through the workflow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ld4mrec_cli.baselines.linear import BASELINES
from ld4mrec_cli.config import BaselineConfig
from ld4mrec_cli.data.dataset import PreparedDataset
from ld4mrec_cli.evaluation.ranking import Scorer
from ld4mrec_cli.serving.recommender import load_scorer
from ld4mrec_cli.training.checkpoint import RunDirectory
from ld4mrec_cli.workflow import Watcher, train

MODELS = ["ld4mrec", *BASELINES]


@pytest.fixture(scope="module", params=MODELS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def fitted(world, name) -> Scorer:
    return fit(world, name)


def fit(world, name: str) -> Scorer:
    if name == "ld4mrec":
        return world.trained(world.config())[0]
    return BASELINES[name].fit(world.train, BaselineConfig())


def test_scores_have_one_finite_float_per_row_and_item(world, fitted):
    scores = fitted.score(world.train)
    assert scores.shape == world.train.shape
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


def test_a_batch_scores_as_its_rows_one_by_one(world, fitted):
    order = np.random.default_rng(0).permutation(world.train.shape[0])
    together = fitted.score(world.train[order])
    alone = torch.cat([fitted.score(world.train[user]) for user in order])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_scoring_twice_gives_the_same(world, fitted):
    assert torch.equal(fitted.score(world.train), fitted.score(world.train))


def test_scoring_changes_neither_rows_nor_later_scores(world, fitted):
    rows = world.train.copy()
    first = fitted.score(rows)
    kept = first.clone()
    with torch.inference_mode():
        first.fill_(-1.0)
    assert torch.equal(fitted.score(rows), kept)
    assert (rows != world.train).nnz == 0


def test_fitting_twice_gives_the_same(world, name, fitted):
    assert torch.equal(fit(world, name).score(world.train), fitted.score(world.train))


@pytest.mark.parametrize("items", [[], ["cold"], ["cold", 0, 1], "all"])
def test_rows_that_training_never_saw_get_finite_scores(world, fitted, items):
    row = np.zeros((1, world.train.shape[1]), dtype=np.float32)
    chosen = range(row.shape[1]) if items == "all" else [world.cold_like if i == "cold" else i for i in items]
    row[0, list(chosen)] = 1.0
    scores = fitted.score(csr_matrix(row))
    assert scores.shape == row.shape
    assert torch.isfinite(scores).all()


def test_a_saved_and_loaded_recommender_scores_the_same(planted_dataset, planted_config, tmp_path, name):
    config = planted_config(model_name=name)
    train(config, tmp_path / "run", Watcher())
    rows = PreparedDataset.open(planted_dataset).matrix("train")
    first, second = (load_scorer(RunDirectory.open(tmp_path / "run"), torch.device("cpu")) for _ in range(2))
    assert torch.equal(first.score(rows), second.score(rows))
    if name != "ld4mrec":
        fresh = BASELINES[name].fit(rows, config.baseline)
        assert torch.equal(first.score(rows), fresh.score(rows))
