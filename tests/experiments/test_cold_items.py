"""The evaluation of held-out items: nothing of them is known, and planted tastes are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from taste_shop import write_shop

from ld4mrec_cli.api import prepare, train
from ld4mrec_cli.data.splits import SPLITS, Split
from ld4mrec_cli.experiments.cold_items import (
    CurvePoint,
    choose_weight,
    compare_by_content,
    extend_models,
    hold_out_samples,
    recall_among_cold,
    score_cold,
    thin_out,
    trace_weights,
)
from ld4mrec_cli.models.ld4mrec.model import LD4MRec
from ld4mrec_cli.runs.add_items import make_extension
from ld4mrec_cli.runs.run_directory import WEIGHTS
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.utils.errors import DatasetError, UserError


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    root = write_shop(tmp_path_factory.mktemp("shop"))
    tables = {"interactions": root / "orders.csv", "items": root / "items.csv"}
    whole = prepare(root, root / "whole", **tables, text_fields=("title",))
    return hold_out_samples(whole, root / "known", 0.2, seed=0)


@pytest.fixture(scope="module")
def model(cold, tmp_path_factory):
    run = train(cold.known, "ease", run=tmp_path_factory.mktemp("runs") / "ease")
    return extend_models(run, cold)[Split.TEST]


def test_the_samples_are_disjoint_and_left_out(cold):
    valid, test = (set(cold.samples[split].tolist()) for split in (Split.VALID, Split.TEST))
    assert len(valid) == len(test) == 16
    assert not valid & test
    assert set(cold.kept.tolist()) == set(range(80)) - valid - test
    assert cold.known.items.ids == [cold.whole.items[item] for item in cold.kept.tolist()]
    left = cold.whole.matrix(*SPLITS)[:, cold.kept]
    assert (cold.known.matrix(*SPLITS) != left).nnz == 0


def test_content_and_taste_are_found(cold, model):
    def by_chance(rows, users):
        return torch.from_numpy(np.random.default_rng(0).random((len(users), 16)))

    chance = recall_among_cold(by_chance, cold, Split.TEST, 4)
    assert chance == pytest.approx(0.25, abs=0.08)
    for scorer in (compare_by_content(cold, Split.TEST, 5).score, score_cold(model)):
        assert recall_among_cold(scorer, cold, Split.TEST, 4) > 2.0 * chance
    assert recall_among_cold(score_cold(model), cold, Split.TEST, 16) == 1.0


def test_items_that_nobody_has_are_an_error(cold):
    nobody = replace(cold, samples={**cold.samples, Split.TEST: np.array([], dtype=np.int64)})
    with pytest.raises(DatasetError, match="no user has interacted with the held-out items"):
        recall_among_cold(lambda rows, users: torch.zeros(len(users), 0), nobody, Split.TEST, 4)


def test_the_curve_goes_from_known_to_new_items(cold, model):
    curve = trace_weights(model, cold, Split.TEST, 10, weights=(0.01, 1.0, 1000.0))
    shares = [point.cold_share for point in curve]
    assert shares[0] < shares[1] < shares[2]
    assert curve[0].warm_recall > curve[2].warm_recall
    assert curve[0].cold_recall < curve[2].cold_recall
    fewer = trace_weights(model, cold, Split.TEST, 10, weights=(1.0,), max_users=20)
    assert len(fewer) == 1


def test_the_weight_is_that_of_the_best_recall():
    points = [CurvePoint(w, 0.0, 0.0, recall, 0.0) for w, recall in ((1, 0.2), (2, 0.3), (4, 0.3))]
    assert choose_weight(points) == 2


def test_a_share_that_cannot_be_held_out_is_refused(cold, tmp_path):
    for share in (0.0, 0.6):
        with pytest.raises(UserError, match="cannot be held out twice"):
            hold_out_samples(cold.whole, tmp_path / "x", share, 0)


def test_both_samples_have_what_is_learned_once(cold, tmp_path, monkeypatch):
    settings = {"training.max_epochs": 1, "model.hidden_dim": 8}
    run = train(cold.known, "ld4mrec", run=tmp_path / "run", settings=settings)
    learn, calls = LD4MRec.learn_content, []

    def learn_content(model, *arguments):
        calls.append(arguments)
        return learn(model, *arguments)

    monkeypatch.setattr(LD4MRec, "learn_content", learn_content)
    models = extend_models(run, cold)
    assert len(calls) == 1
    alone = make_extension(run, cold.known, cold.new_items(Split.TEST))
    expected = alone.extend(load_scorer(run, torch.device("cpu")), weight=1.0)
    rows = cold.known.matrix(Split.TRAIN)[:9]
    scores = [score_cold(one)(rows, np.arange(9)) for one in (models[Split.TEST], expected)]
    assert torch.equal(*scores)
    assert not torch.equal(score_cold(models[Split.VALID])(rows, np.arange(9)), scores[0])


def test_a_model_that_learns_nothing_of_content_is_not_loaded_for_it(cold, tmp_path, monkeypatch):
    run = train(cold.known, "ease", run=tmp_path / "run")
    (run.path / WEIGHTS).unlink()
    assert make_extension(run, cold.known, cold.new_items(Split.TEST)).learned == {}


def test_thinned_out_users_are_the_first_the_last_and_some_between():
    users = np.arange(10, 110)
    assert thin_out(users, 4).tolist() == [10, 43, 76, 109]
    assert thin_out(users, 1000).tolist() == users.tolist()
