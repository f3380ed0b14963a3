"""What is chosen on validation where the split is in time: fading histories, and the trend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ld4mrec_cli as api
from ld4mrec_cli.runs.run_directory import TREND, RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.serving.recommender import Recommender
from ld4mrec_cli.serving.requests import Pairs, for_histories
from ld4mrec_cli.utils.errors import ConfigError, RunError

N_USERS, N_GROUP = 120, 12
TINY = {
    "model.hidden_dim": 16,
    "model.collaborative_rank": 8,
    "model.ease_ridge": 20.0,
    "training.max_epochs": 4,
    "training.learning_rate": 0.01,
}


def write_changing_tastes(path: Path) -> Path:
    """Users who turn to another of four groups of items halfway: the last items tell the next."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(N_USERS):
        tastes = rng.permutation(4)[:2]
        chosen = [rng.permutation(N_GROUP)[:10] + N_GROUP * taste for taste in tastes]
        rows += [(f"u{user}", f"i{item}", n) for n, item in enumerate(np.concatenate(chosen))]
    columns = ["user", "item", "timestamp"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(path)
    return path


def write_moving_popularity(path: Path) -> Path:
    """Users who take, day after day, one of the ten items that are popular on that day."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{day + rng.integers(10)}", 86_400 * day + user)
        for day in range(30)
        for user in range(60)
    ]
    table = pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row")
    table.unique(["user", "item"], keep="first").sort("timestamp").write_csv(path)
    return path


@pytest.fixture(scope="module")
def changing(tmp_path_factory):
    root = tmp_path_factory.mktemp("changing")
    raw = write_changing_tastes(root / "log.csv")
    return {
        split: api.prepare(raw, root / split, split=split, k_core=0)
        for split in ("temporal", "random")
    }


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    root = tmp_path_factory.mktemp("moving")
    raw = write_moving_popularity(root / "log.csv")
    return api.prepare(raw, root / "data", split="global-time", k_core=0)


def fit(data, path, model="ease", **settings):
    chosen = {"model_name": model, "ease.ridge": 20.0} | settings
    if model == "ld4mrec":
        chosen |= TINY
    return api.train(data, run=path, device="cpu", settings=chosen)


@pytest.mark.parametrize("model", ["ease", "ld4mrec"])
def test_fading_histories_are_found_where_tastes_change(changing, tmp_path, model):
    run = fit(changing["temporal"], tmp_path / "run", model)
    plain = fit(
        changing["temporal"], tmp_path / "plain", model, **{"data.history_half_life": "off"}
    )
    half_life = run.manifest.dataset.history_half_life
    assert half_life is not None
    assert half_life <= 16.0
    assert plain.manifest.dataset.history_half_life is None
    found = {
        name: api.evaluate(one, split="test")["ndcg@20"]
        for name, one in (("run", run), ("plain", plain))
    }
    assert found["run"] > 1.1 * found["plain"]
    assert run.manifest.best.valid["ndcg@20"] == pytest.approx(
        api.evaluate(run, split="valid")["ndcg@20"], abs=1e-6
    )


def test_nothing_fades_where_the_split_is_not_in_time(changing, tmp_path):
    run = fit(changing["random"], tmp_path / "run")
    assert run.manifest.dataset.history_half_life is None
    known = Recommender(run, "cpu").known
    assert set(known.data) == {1.0}
    given = fit(changing["random"], tmp_path / "given", **{"data.history_half_life": 3.0})
    assert given.manifest.dataset.history_half_life == 3.0
    assert Recommender(given, "cpu", splits="train").known.data.min() < 0.1


def test_a_half_life_without_times_is_refused(tmp_path):
    rows = [(f"u{n % 20}", f"i{n % 13}") for n in range(200)]
    table = pl.DataFrame(rows, schema=["user", "item"], orient="row").unique()
    table.write_csv(tmp_path / "log.csv")
    data = api.prepare(tmp_path / "log.csv", tmp_path / "data", k_core=0)
    with pytest.raises(ConfigError, match=r"data\.history_half_life is set, but .* has no times"):
        fit(data, tmp_path / "run", **{"data.history_half_life": 3.0})
    assert not (tmp_path / "run").exists()
    assert fit(data, tmp_path / "auto").manifest.dataset.history_half_life is None


def test_the_trend_is_found_and_a_refit_measures_it_anew(moving, tmp_path):
    run = fit(moving, tmp_path / "run", "ld4mrec")
    plain = fit(moving, tmp_path / "plain", "ld4mrec", **{"model.trend_half_life": "off"})
    manifest = run.manifest
    assert manifest.trend_half_life is not None
    assert manifest.mixture["trend"] > 0.0
    assert plain.manifest.trend_half_life is None
    assert "trend" not in plain.manifest.mixture
    scores = [api.evaluate(one, split="test")["ndcg@20"] for one in (run, plain)]
    assert scores[0] > 1.1 * scores[1]
    served = api.refit(run, out=tmp_path / "served", device="cpu")
    assert served.manifest.trend_half_life == manifest.trend_half_life
    assert served.manifest.mixture == manifest.mixture
    assert served.manifest.dataset.history_half_life == manifest.dataset.history_half_life
    trends = [one.load_tensors(TREND)["trend"] for one in (run, served)]
    assert not bool((trends[0] == trends[1]).all())


def test_a_damaged_trend_is_one_clear_error(moving, tmp_path):
    run = fit(moving, tmp_path / "run", "ld4mrec")
    (run.path / TREND).write_bytes(b"{}")
    with pytest.raises(RunError, match=r"changed|damaged"):
        load_scorer(RunDirectory.open(run.path), "cpu")


def test_the_last_items_of_a_history_tell_what_is_listed(changing, tmp_path):
    run = fit(changing["temporal"], tmp_path / "run", **{"data.history_half_life": 1.0})
    recommender = Recommender(run, "cpu")
    first, second = ([f"i{item}" for item in range(start, start + 4)] for start in (0, N_GROUP))

    def group(history: list[str]) -> set[int]:
        listed = recommender.recommend(history=history, k=5).items
        return {int(entry.item[1:]) // N_GROUP for entry in listed}

    assert group(first + second) == {1}
    assert group(second + first) == {0}
    times = pl.Series([*range(10, 14), *range(4)])
    late = Pairs(["n"] * 8, first + second, times=times)
    (listed,) = recommender.for_histories(late, 5)
    assert {int(entry.item[1:]) // N_GROUP for entry in listed.items} == {0}


def test_new_interactions_are_later_than_the_known_ones(changing, tmp_path):
    run = fit(changing["temporal"], tmp_path / "run", **{"data.history_half_life": 2.0})
    catalog = Recommender(run, "cpu").catalog
    known = catalog.known[0]
    new = [n for n in range(len(catalog.items)) if n not in known.indices][:2]
    pairs = Pairs([catalog.users[0]] * 2, [catalog.items[n] for n in new])
    row = for_histories(catalog, pairs).rows(np.array([0]))
    np.testing.assert_allclose(row[0, known.indices].toarray()[0], known.data / 2, rtol=1e-6)
    np.testing.assert_allclose(row[0, new].toarray()[0], [2**-0.5, 1.0], rtol=1e-6)


@pytest.mark.parametrize("in_time", [True, False])
def test_a_given_split_is_seen_to_be_in_time(tmp_path, in_time):
    rng, rows = np.random.default_rng(0), []
    for user in range(30):
        labels = ["train"] * 8 + ["valid", "test"]
        order = np.arange(10) if in_time else rng.permutation(10)
        for place, time in enumerate(order):
            item = int(rng.integers(1000))
            rows.append((f"u{user}", f"i{item}", f"2026-01-{time + 1:02}", labels[place]))
    columns = ["user", "item", "date", "split"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(tmp_path / "log.csv")
    data = api.prepare(tmp_path / "log.csv", tmp_path / "data")
    assert data.schema.split_method == "given"
    assert data.is_split_in_time is in_time


def test_a_log_says_what_was_chosen(changing, tmp_path):
    run = fit(changing["temporal"], tmp_path / "run")
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["dataset"]["history_half_life"] == run.manifest.dataset.history_half_life > 0
