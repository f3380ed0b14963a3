"""Training on weighted events: what it gains, and that resume, refit and evaluation agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import WEIGHTS, planted_events
from raw_files import fill

from ld4mrec_cli.api import evaluate, refit, train
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.row_values import RowValues
from ld4mrec_cli.data.splits import SPLITS
from ld4mrec_cli.runs.run_directory import WEIGHTS as WEIGHTS_FILE
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.serving.recommender import Recommender
from ld4mrec_cli.serving.requests import Pairs, for_histories
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.training.session import Callbacks, resume
from ld4mrec_cli.utils.errors import TrainingInterrupted, UserError

SETTINGS: dict[str, dict[str, Any]] = {
    "itemknn": {},
    "ease": {"ease.ridge": 100.0},
    "ials": {"ials.factors": 8, "ials.regularization": 0.05},
    "ld4mrec": {
        "model.hidden_dim": 32,
        "model.ease_ridge": 100.0,
        "training.learning_rate": 0.01,
        "training.max_epochs": 12,
    },
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> Callable[..., Path]:
    """Prepare the planted events with some weights, once for each."""
    root = tmp_path_factory.mktemp("events")
    raw = fill(root / "raw", {"interactions.csv": planted_events()})

    def of(**weights: float) -> Path:
        options = {"columns": {"event": "type"}, "event_weights": weights} if weights else {}
        out = root / ("data-" + "-".join(f"{event}{w}" for event, w in weights.items()))
        if not out.exists():
            prepare(raw, out, PrepareConfig(**options))
        return out

    return of


def arrays_of(run: RunDirectory) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in run.load_tensors(WEIGHTS_FILE).items()}


def fit(data: Path, out: Path, name: str, **settings: Any) -> RunDirectory:
    every = SETTINGS.get(name, {}) | {key.replace("__", "."): v for key, v in settings.items()}
    return train(data, name, run=out, device="cpu", settings=every)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_buys_are_found_where_they_weigh_more_than_views(datasets, tmp_path, name):
    """Views are noise, buys are taste: held-out buys rank far better with the weights."""
    data = datasets(**WEIGHTS)
    with_weights = evaluate(fit(data, tmp_path / "with", name), k=[20])
    without = evaluate(fit(data, tmp_path / "without", name, data__use_weights=False), k=[20])
    assert with_weights["ndcg@20"] > 1.5 * without["ndcg@20"]
    assert with_weights["recall@20"] > without["recall@20"] + 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ease", "ials", "popularity"])
def test_only_ratios_of_weights_matter(datasets, tmp_path, name):
    first = fit(datasets(**WEIGHTS), tmp_path / "a", name)
    double = fit(datasets(view=2.0, buy=20.0), tmp_path / "b", name)
    tenth = fit(datasets(view=0.1, buy=1.0), tmp_path / "c", name)
    for key, array in arrays_of(first).items():
        np.testing.assert_array_equal(array, arrays_of(double)[key])
        np.testing.assert_allclose(array, arrays_of(tenth)[key], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ease", "ials", "ld4mrec"])
def test_equal_weights_and_ignored_weights_are_no_weights(datasets, tmp_path, name):
    quick = {"training__max_epochs": 2} if name == "ld4mrec" else {}
    plain = fit(datasets(), tmp_path / "plain", name, **quick)
    equal = fit(datasets(view=3.0, buy=3.0), tmp_path / "equal", name, **quick)
    ignored = fit(datasets(**WEIGHTS), tmp_path / "ignored", name, **quick, data__use_weights=False)
    for key, array in arrays_of(plain).items():
        np.testing.assert_array_equal(array, arrays_of(equal)[key])
        np.testing.assert_array_equal(array, arrays_of(ignored)[key])
    assert ignored.manifest.dataset.mean_weight is None
    assert plain.manifest.best.valid == equal.manifest.best.valid == ignored.manifest.best.valid
    lists = [
        [(entry.item, entry.score) for entry in Recommender(run, "cpu").recommend("u1", k=5).items]
        for run in (plain, equal, ignored)
    ]
    assert lists[0] == lists[1] == lists[2]


def test_a_model_that_does_not_read_weights_says_so(datasets, tmp_path):
    run = fit(datasets(**WEIGHTS), tmp_path / "bpr", "bpr", training__max_epochs=1)
    line = "bpr does not read the weights of the interactions: each counts as one"
    assert line in run.manifest.notes
    assert run.manifest.dataset.mean_weight is None
    quiet = fit(
        datasets(**WEIGHTS), tmp_path / "quiet", "bpr", training__max_epochs=1,
        data__use_weights=False,
    )  # fmt: skip
    assert line not in quiet.manifest.notes
    assert (
        line not in fit(datasets(), tmp_path / "no", "bpr", training__max_epochs=1).manifest.notes
    )


def test_evaluation_reads_the_rows_as_the_validation_did(datasets, tmp_path):
    run = fit(datasets(**WEIGHTS), tmp_path / "run", "ease")
    assert evaluate(run, "valid")["ndcg@20"] == pytest.approx(run.manifest.best.value, abs=1e-12)
    lists = Recommender(run, "cpu", splits="train")
    assert lists.known.data.mean() == pytest.approx(1.0)
    targets = Dataset.open(datasets(**WEIGHTS)).matrix("test")
    assert set(targets.data) == {1.0}  # a target is found or not


@pytest.mark.slow
def test_a_resumed_training_on_weights_ends_as_one_without_interruption(datasets, tmp_path):
    data, stop = datasets(**WEIGHTS), {"training__max_epochs": 4}
    whole = fit(data, tmp_path / "whole", "ld4mrec", **stop)

    def interrupt(report):
        if report.epoch == 2:
            raise KeyboardInterrupt

    settings = SETTINGS["ld4mrec"] | {"training.max_epochs": 4}
    cut = tmp_path / "cut"
    with pytest.raises(TrainingInterrupted):
        train(data, run=cut, device="cpu", settings=settings, on_epoch=interrupt)
    resumed = resume(cut, None, Callbacks())
    for key, array in arrays_of(whole).items():
        np.testing.assert_array_equal(array, arrays_of(resumed)[key])


def test_a_refit_reads_the_weights_of_all_splits(datasets, tmp_path):
    data = datasets(**WEIGHTS)
    served = refit(fit(data, tmp_path / "run", "ease"), out=tmp_path / "served", device="cpu")
    dataset = Dataset.open(data)
    mean = served.manifest.dataset.mean_weight
    assert mean == dataset.mean_weight(*SPLITS) != dataset.mean_weight("train")
    known = Recommender(served, "cpu").known
    assert known.data.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(known.data, dataset.matrix(*SPLITS, values=RowValues(mean)).data)


def test_weights_of_histories(datasets, tmp_path):
    """Of an item that is known and new, the larger weight counts; without a weight, the mean."""
    run = fit(datasets(**WEIGHTS), tmp_path / "run", "ease")
    recommender = Recommender(run, "cpu")
    mean = run.manifest.dataset.mean_weight
    pairs = Pairs(["n"] * 3, ["i1", "i2", "i3"], weights=np.array([10.0, 1.0, 0.0]))
    row = recommender.items.find(["i1", "i2"])
    matrix = pairs.matrix(
        recommender.items.find(pairs.items), len(recommender.items), RowValues(mean)
    )
    np.testing.assert_allclose(matrix.toarray()[0, row], np.array([10.0, 1.0]) / mean, rtol=1e-6)
    assert matrix.nnz == 2
    first, *_ = recommender.for_histories(pairs, 5)
    second = recommender.recommend(history=["i1", "i2"], k=5)
    assert [e.item for e in first.items] != [e.item for e in second.items] or first != second
    taste = [int(entry.item[1:]) // 15 for entry in first.items]
    assert taste.count(0) >= 3  # of the item that was bought
    known = recommender.known[recommender.users.index("u0")]
    at = known.indices[known.data < 1.0][0]
    bought = Pairs(["u0"], [recommender.items[at]], weights=np.array([10.0]))
    rows = for_histories(recommender.catalog, bought).rows(np.array([0]))
    assert rows[0, at] == pytest.approx(10.0 / mean)
    assert rows.nnz == known.nnz


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_history_of_no_weight_is_refused(weight):
    with pytest.raises(UserError, match="row 2: the weight"):
        Pairs(["a", "b"], ["x", "y"], weights=np.array([1.0, weight]))
