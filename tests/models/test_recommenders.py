"""The contract of every recommender, LD4MRec and each baseline, in training and serving."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from model_zoo import CLOSED_FORM, DETERMINISTIC
from model_zoo import fit as fit_model
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.evaluation.evaluate import evaluate
from ld4mrec_cli.evaluation.ranking import Scorer
from ld4mrec_cli.models.registry import is_pairwise
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.training.session import Callbacks, train
from ld4mrec_cli.utils.errors import UserError

SPARSE_EASE = {
    "ease": {"ease__max_items": 10, "ease__neighbors": 12, "ease__ridge": 10.0},
    "ld4mrec": {"model__ease_max_items": 10, "model__ease_neighbors": 12},
}
"""Settings with which a model takes the item weights of large catalogs."""


@pytest.fixture(scope="module", params=[*MODELS, *(f"{name}-sparse" for name in SPARSE_EASE)])
def variant(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def name(variant) -> str:
    return variant.removesuffix("-sparse")


@pytest.fixture(scope="module")
def changed(variant, name) -> dict[str, Any]:
    return SPARSE_EASE[name] if variant != name else {}


@pytest.fixture(scope="module")
def fitted(world, name, changed) -> Scorer:
    return fit(world, name, changed)


def fit(world, name: str, changed: dict[str, Any], seed: int = 0, epochs: int = 2) -> Scorer:
    config = world.config(
        model_name=name, training__seed=seed, training__max_epochs=epochs, **changed
    )
    if name in CLOSED_FORM:
        return fit_model(name, world.train, config)
    return world.trained(config)[0]


@pytest.fixture(scope="module")
def users(world) -> np.ndarray:
    return np.arange(world.train.shape[0])


def test_scores_have_one_finite_float_per_row_and_item(world, fitted, users):
    scores = fitted.score(world.train, users)
    assert scores.shape == world.train.shape
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


def test_a_batch_scores_as_its_rows_one_by_one(world, fitted, users):
    order = np.random.default_rng(0).permutation(users)
    together = fitted.score(world.train[order], order)
    alone = torch.cat([fitted.score(world.train[user], np.array([user])) for user in order])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_scoring_twice_gives_the_same(world, fitted, users):
    assert torch.equal(fitted.score(world.train, users), fitted.score(world.train, users))


def test_scoring_changes_neither_rows_nor_later_scores(world, fitted, users):
    rows = world.train.copy()
    first = fitted.score(rows, users)
    copy = first.clone()
    with torch.inference_mode():
        first.fill_(-1.0)
    assert torch.equal(fitted.score(rows, users), copy)
    assert (rows != world.train).nnz == 0


def test_fitting_twice_gives_the_same(world, name, changed, fitted, users):
    assert torch.equal(
        fit(world, name, changed).score(world.train, users), fitted.score(world.train, users)
    )


def test_the_seed_acts_where_something_is_drawn(world, name, changed, fitted, users):
    same = torch.equal(
        fit(world, name, changed, seed=1).score(world.train, users),
        fitted.score(world.train, users),
    )
    assert same == (name in DETERMINISTIC)


@pytest.mark.slow
def test_what_training_learned_ranks_the_held_out_items_better_than_chance(world, name, changed):
    """Tastes are planted: two thirds of the items are not of a user's kind."""
    if name == "popularity":
        pytest.skip("the same list for every user")
    fitted = fit(world, name, changed, epochs=200 if name == "cfgan" else 15)
    recall = evaluate(fitted, world.train, world.valid, world.train, [10], 64).metrics["recall@10"]
    assert recall > 0.45  # ten of about 30 unseen items, by chance: 0.33


@pytest.mark.parametrize("items", [[], ["cold"], ["cold", 0, 1], "all"])
def test_rows_that_training_never_saw_get_finite_scores(world, name, fitted, items):
    row = np.zeros((1, world.train.shape[1]), dtype=np.float32)
    chosen = (
        range(row.shape[1])
        if items == "all"
        else [world.cold_like if i == "cold" else i for i in items]
    )
    row[0, list(chosen)] = 1.0
    if is_pairwise(name):
        with pytest.raises(UserError, match="scores its training users only"):
            fitted.score(csr_matrix(row))
        return
    scores = fitted.score(csr_matrix(row))
    assert scores.shape == row.shape
    assert torch.isfinite(scores).all()


@pytest.mark.slow
def test_a_saved_and_loaded_recommender_scores_the_same(
    planted_dataset, planted_config, tmp_path, name, changed
):
    config = planted_config(model_name=name, **changed)
    train(config, tmp_path / "run", Callbacks())
    rows = Dataset.open(planted_dataset).matrix("train")
    users = np.arange(rows.shape[0])
    first, second = (
        load_scorer(RunDirectory.open(tmp_path / "run"), torch.device("cpu")) for _ in range(2)
    )
    assert torch.equal(first.score(rows, users), second.score(rows, users))
    if name in CLOSED_FORM:
        fresh = fit_model(name, rows, config)
        assert torch.equal(first.score(rows), fresh.score(rows))


@pytest.mark.slow
def test_a_saved_run_has_the_validation_metrics_of_its_weights(
    planted_dataset, planted_config, tmp_path, name, changed
):
    run = train(planted_config(model_name=name, **changed), tmp_path / "run", Callbacks())
    dataset = Dataset.open(planted_dataset)
    actual = evaluate_run(run, dataset, "valid", run.config.evaluation, torch.device("cpu")).metrics
    assert run.manifest.best is not None
    for metric, value in run.manifest.best.valid.items():
        assert actual[metric] == pytest.approx(value, abs=1e-6)
