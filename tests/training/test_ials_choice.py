"""What is chosen of iALS on validation before the training, and whether it joins the mixture."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix

from ld4mrec_cli.evaluation.validation import SplitValidator
from ld4mrec_cli.models.ials_settings import IALSChoice, IALSConfig
from ld4mrec_cli.models.ops.als import fit_item_factors
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.serving.export.export import export_run
from ld4mrec_cli.training import auto_settings, ials_choice
from ld4mrec_cli.training.auto_settings import choose_autos, find_autos
from ld4mrec_cli.training.ials_choice import IALSValue, carry_over, search_ials
from ld4mrec_cli.training.refit import refit
from ld4mrec_cli.training.session import Callbacks, resume, train
from ld4mrec_cli.utils.errors import TrainingInterrupted

CPU = torch.device("cpu")
AUTO = IALSConfig(unobserved_weight="auto", regularization="auto", frequency_exponent="auto")
MEAN_FREQUENCY = 100.0
AUTOS = {
    "model__ials_unobserved_weight": "auto",
    "model__ials_ridge": "auto",
    "model__ials_frequency_exponent": "auto",
    "model__ials_dim": 4,
}
IALS_KEYS = {key.replace("__", ".") for key in AUTOS if not key.endswith("dim")}


def peak(weight: float, ridge: float, exponent: float):
    """A value that falls by a hundredth for each factor of two from there."""

    def value(choice: IALSChoice) -> float:
        steps = abs(math.log2(choice.unobserved_weight / weight))
        steps += abs(math.log2(choice.regularization / ridge))
        return 1.0 - 0.01 * steps - 0.05 * (choice.frequency_exponent != exponent)

    return value


@pytest.mark.parametrize("weight", [0.00125, 0.005, 0.08])
@pytest.mark.parametrize("ridge", [0.0625, 0.25, 4.0])
def test_the_best_of_smooth_values_is_found(weight, ridge):
    assert search_ials(AUTO, peak(weight, ridge, 0.5), MEAN_FREQUENCY) == IALSChoice(
        weight, ridge, 0.5
    )


def test_the_other_exponent_starts_with_the_same_ridge_for_a_mean_user():
    start = 0.25 / math.sqrt(MEAN_FREQUENCY)
    found = search_ials(AUTO, peak(0.005, 2 * start, 1.0), MEAN_FREQUENCY)
    assert found == IALSChoice(0.005, 2 * start, 1.0)


@pytest.mark.parametrize(
    ("name", "given"),
    [("unobserved_weight", 0.3), ("regularization", 2.5), ("frequency_exponent", 0.25)],
)
def test_what_is_given_stays(name, given):
    found = search_ials(
        AUTO.model_copy(update={name: given}), peak(0.02, 0.0625, 0.5), MEAN_FREQUENCY
    )
    wanted = replace(IALSChoice(0.02, 0.0625, 0.5), **{name: given})
    assert found == wanted


@pytest.mark.parametrize(("least", "joins"), [(0.9, True), (0.999, False), (1.2, False)])
def test_it_joins_where_it_is_better_than_what_is_there(least, joins):
    found = search_ials(AUTO, peak(0.02, 1.0, 0.5), MEAN_FREQUENCY, least)
    assert (found is not None) == joins


def test_a_hopeless_first_fit_ends_the_search():
    asked = []

    def value(choice: IALSChoice) -> float:
        asked.append(choice)
        return 0.5

    assert search_ials(AUTO, value, MEAN_FREQUENCY, least=0.6) is None
    assert len(asked) == 2, "one for each exponent"


def test_settings_without_a_solution_have_no_value():
    rows = csr_matrix((np.random.default_rng(0).random((40, 15)) < 0.3).astype(np.float32))
    empty = csr_matrix(rows.shape, dtype=np.float32)
    users = np.flatnonzero(np.diff(rows.indptr))
    validator = SplitValidator(rows, rows, empty, users, (20,), 16)
    value = IALSValue(AUTO.model_copy(update={"factors": 64}), rows, validator, "recall@20", 0)
    assert value(IALSChoice()) > 0.0
    assert value(IALSChoice(regularization=1e-30, frequency_exponent=0.0)) == 0.0


def test_of_many_interactions_some_users_are_fitted(monkeypatch):
    monkeypatch.setattr(ials_choice, "CHOICE_INTERACTIONS", 500)
    rows = csr_matrix(np.ones((1_000, 2), np.float32))
    drawn = ials_choice._draw_rows(rows, 500, seed=0)
    assert 150 < drawn.shape[0] < 350
    assert (drawn != ials_choice._draw_rows(rows, 500, seed=0)).nnz == 0
    assert ials_choice._draw_rows(rows, 2_000, seed=0) is rows


@pytest.fixture
def make_low_rank_validator():
    """Few groups of items that are liked together; an item is rarely seen with a given other."""

    def make(n_groups: int, n_group: int, n_users: int, n_seen: int):
        rng, n_items = np.random.default_rng(0), n_groups * n_group
        seen, wanted = np.zeros((2, n_users, n_items), np.float32)
        for user in range(n_users):
            own = rng.permutation(n_group)[: n_seen + 2] + n_group * rng.integers(n_groups)
            seen[user, own[:n_seen]] = wanted[user, own[n_seen:]] = 1.0
        rows, targets = csr_matrix(seen), csr_matrix(wanted)
        return rows, SplitValidator(rows, targets, rows, np.arange(n_users), (20,), 64)

    return make


def choose(planted_config, rows, validator, **settings):
    given = {"model__ials": "auto", **AUTOS, "model__ease_ridge": "auto"} | settings
    return choose_autos(planted_config(**given), rows, {}, validator)


def test_ials_joins_where_a_low_rank_says_more_than_pairs(planted_config, make_low_rank_validator):
    rows, validator = make_low_rank_validator(4, 200, 800, 4)
    chosen = choose(planted_config, rows, validator)
    assert chosen["model.ials"] is True
    assert set(chosen) == {"model.ials", "model.ease_ridge", *IALS_KEYS}


def test_ials_stays_out_where_pairs_say_all(planted_config, make_low_rank_validator):
    """Forty pairs of items are more than four factors can tell apart."""
    rows, validator = make_low_rank_validator(120, 4, 400, 2)
    chosen = choose(planted_config, rows, validator)
    assert chosen["model.ials"] is False


def test_ials_is_asked_only_beside_ease_and_with_a_softmax(planted_config):
    autos = {"model__ials": "auto", **AUTOS}
    assert set(find_autos(planted_config(**autos))) == {"model.ials", *IALS_KEYS}
    assert find_autos(planted_config(**autos, model__ease=False)) == []
    assert find_autos(planted_config(**autos, training__loss="mse")) == []
    assert set(find_autos(planted_config(**autos | {"model__ials": True}))) == IALS_KEYS
    assert find_autos(planted_config(**autos | {"model__ials": False})) == []


def test_an_auto_that_was_not_chosen_is_off(planted_config, tmp_path):
    config = planted_config(model__ials="auto", model__ease=False, training__max_epochs=1)
    run = train(config, tmp_path / "run", Callbacks())
    assert run.manifest.chosen is None
    assert load_scorer(run, CPU).mixture.is_empty


def test_a_run_serves_what_was_chosen(planted_config, tmp_path):
    """Users are solved with the chosen settings, after the run was opened again, too."""
    config = planted_config(**AUTOS, model__ials=True, training__max_epochs=1)
    path = train(config, tmp_path / "run", Callbacks()).path
    run = RunDirectory.open(path)
    assert run.config.model.ials_ridge == "auto"
    assert set(run.manifest.chosen) == IALS_KEYS
    given = {key.replace(".", "__"): value for key, value in run.manifest.chosen.items()}
    same = train(
        planted_config(**{**AUTOS, **given, "model__ials": True, "training__max_epochs": 1}),
        tmp_path / "same",
        Callbacks(),
    )
    rows = csr_matrix(np.eye(3, run.n_items, dtype=np.float32))
    one, other = (load_scorer(each, CPU).mixture.ials for each in (run, same))
    assert_allclose(one.vectors(rows), other.vectors(rows))
    assert run.manifest.best == same.manifest.best
    done = refit(run, None, tmp_path / "refit", Callbacks())
    assert done.config.model.ials_ridge == run.manifest.chosen["model.ials_ridge"]


@pytest.mark.parametrize("model", ["ld4mrec", "ials"])
def test_the_onnx_model_solves_with_what_was_chosen(planted_config, tmp_path, model):
    pytest.importorskip("onnxruntime")
    names = ("unobserved_weight", "regularization", "frequency_exponent")
    settings = {f"ials__{name}": "auto" for name in names} | {"ials__factors": 4}
    if model == "ld4mrec":
        settings = AUTOS | {"model__ials": True, "training__max_epochs": 1}
    run = train(planted_config(model_name=model, **settings), tmp_path / "run", Callbacks())
    report = export_run(RunDirectory.open(run.path), tmp_path / "export", ["onnx"])
    assert report.onnx["max_difference"] < 1e-4


def test_the_baseline_can_choose_its_settings(planted_config, tmp_path):
    names = ("unobserved_weight", "regularization", "frequency_exponent")
    settings = {f"ials__{name}": "auto" for name in names}
    run = train(
        planted_config(model_name="ials", ials__factors=4, **settings),
        tmp_path / "run",
        Callbacks(),
    )
    assert set(run.manifest.chosen) == {f"ials.{name}" for name in names}
    choice = run.settled_config.model_settings.choice
    assert choice == IALSChoice(**{n: run.manifest.chosen[f"ials.{n}"] for n in names})
    rows = csr_matrix(np.eye(2, run.n_items, dtype=np.float32))
    restored = load_scorer(run, CPU)
    assert restored._users._settings == choice
    assert float(restored.score(rows).abs().sum()) > 0.0


def test_no_vectors_are_solved_with_a_setting_that_was_not_chosen():
    rows = csr_matrix((np.random.default_rng(0).random((30, 12)) < 0.3).astype(np.float32))
    with pytest.raises(ValueError, match="unobserved_weight, regularization, frequency_exponent"):
        fit_item_factors(rows, AUTO, 0)


def test_the_ridge_of_a_mean_user_stays_on_the_whole_catalog():
    whole = csr_matrix(np.ones((10, 400), np.float32))
    part = csr_matrix(whole[:, :100])
    choice = IALSChoice(unobserved_weight=0.5, regularization=3.0, frequency_exponent=0.5)
    carried = carry_over(choice, part, whole)
    assert carried.regularization * (400 + 200) ** 0.5 == pytest.approx(3.0 * (100 + 50) ** 0.5)
    assert replace(carried, regularization=3.0) == choice
    assert carry_over(choice, whole, whole) == choice


def test_ials_that_joined_is_there_to_the_end(planted_config, tmp_path, monkeypatch):
    """Interrupted, resumed, opened again and refit."""
    found = IALSChoice(0.01, 0.3, 0.5)
    monkeypatch.setattr(auto_settings, "search_ials", lambda *arguments: found)
    settings = AUTOS | {"model__ials": "auto", "training__max_epochs": 2}

    def interrupt(text: str) -> None:
        if "signals" in text:
            raise KeyboardInterrupt

    path = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train(planted_config(**settings), path, Callbacks(on_stage=interrupt))
    run = resume(path, None, Callbacks())
    assert run.manifest.chosen["model.ials"] is True
    assert set(run.manifest.mixture) == {"ease", "ials"}
    given = dict(zip(sorted(IALS_KEYS), (0.5, 0.3, 0.01), strict=True))
    assert {key: run.manifest.chosen[key] for key in IALS_KEYS} == pytest.approx(given)
    model = load_scorer(RunDirectory.open(path), CPU)
    assert model.mixture.ials._users._settings.unobserved_weight == 0.01
    done = refit(run, None, tmp_path / "refit", Callbacks())
    assert done.config.model.ials is True
    assert load_scorer(done, CPU).mixture.scales == model.mixture.scales


def test_the_choice_says_what_it_does(planted_config, make_low_rank_validator):
    rows, validator = make_low_rank_validator(4, 50, 100, 4)
    stages: list[str] = []
    config = planted_config(**AUTOS, model__ials="auto")
    auto_settings.choose_autos(config, rows, {}, validator, stages.append)
    assert stages == ["choosing on validation whether iALS joins"], "EASE is given here"
