"""Spaces: what they accept and refuse, and that proposals stay inside."""

from __future__ import annotations

import importlib.resources
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ld4mrec_cli.config import Config, config_from_mapping, iter_searchable, load_config
from ld4mrec_cli.experiments.tune.space import Categorical, Range, is_valid, with_values
from ld4mrec_cli.experiments.tune.space_io import (
    NOTHING_TO_TUNE,
    builtin_space,
    builtin_space_text,
    load_space,
    space_from_mapping,
)
from ld4mrec_cli.experiments.tune.suggest import _distribution, _known_trials, suggest
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.utils.errors import ConfigError

BUILT_IN = sorted(
    path.name.removesuffix(".yaml")
    for path in (importlib.resources.files("ld4mrec_cli") / "presets" / "spaces").iterdir()
    if "-" not in path.name
)
MIXED = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "model.dropout": {"low": 0.2, "high": 0.85, "step": 0.1},
    "model.hidden_dim": {"low": 8, "high": 64, "log": True},
    "model.time_dim": {"low": 2, "high": 8, "step": 2},
    "model.bd_blocks": {"low": 1, "high": 4, "step": 2},
    "model.guidance": {"choices": [None, [], ["collaborative"]]},
    "model.ease": {"choices": [True, False]},
}

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("model", BUILT_IN)
def test_a_built_in_space_fits_the_config_and_holds_the_defaults(model):
    base = config_from_mapping({"model_name": model})
    space = builtin_space(base)
    assert space.contains(space.values_of(base)), "the search could not learn from trial 0"
    tried = [space.values_of(base)]
    for n in range(12):
        results = [float(n) for n in range(len(tried))]
        tried.append(suggest(space, tried, results, n, partial(is_valid, base)))
        assert with_values(base, tried[-1]) != base


def test_the_preset_of_the_paper_is_searched_within_itself():
    base = config_from_mapping({"preset": "paper"})
    space = builtin_space(base)
    assert space.contains(space.values_of(base))
    for n in range(20):
        values = suggest(space, [space.values_of(base)], [0.0], n, partial(is_valid, base))
        tried = with_values(base, values)
        assert (tried.training.loss, tried.training.target) == ("mse", "all")
        assert not any((tried.model.ease, tried.model.ials, tried.model.item_side))
        assert tried.diffusion.mask_rate == 0.0


def test_every_model_has_a_space_or_nothing_to_tune():
    assert set(BUILT_IN) | NOTHING_TO_TUNE == set(MODELS)
    with pytest.raises(ConfigError, match="popularity has no settings"):
        builtin_space(config_from_mapping({"model_name": "popularity"}))


def test_a_model_without_a_built_in_space_is_told_of_the_option():
    with pytest.raises(ConfigError, match=r"no built-in search space for svd.* --space FILE"):
        builtin_space_text("svd")


def test_a_printed_space_is_read_back_equal(tmp_path):
    path = written(tmp_path, builtin_space_text("ld4mrec"))
    assert load_space(path, Config()) == builtin_space(Config())


def test_values_are_read_as_the_config_reads_them(tmp_path):
    text = (
        "training.learning_rate: {low: 1e-4, high: 1, log: true}\n"  # YAML takes 1e-4 for text
        "model.hidden_dim: {low: 8.0, high: 64}\n"
        "training.weight_decay: {choices: [0, 1e-3]}\n"
    )
    space = load_space(written(tmp_path, text), Config())
    assert space.parameters == {
        "training.learning_rate": Range(1e-4, 1.0, log=True),
        "model.hidden_dim": Range(8, 64, whole=True),
        "training.weight_decay": Categorical((0.0, 1e-3)),
    }
    assert isinstance(space.parameters["model.hidden_dim"].low, int)


def test_a_space_written_down_is_read_back_equal():
    space = space_from_mapping({**MIXED, "training.weight_decay": {"low": 0, "high": 1}}, Config())
    assert space_from_mapping(space.as_dict(), Config()) == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "space.yaml: the search space is empty"),
        ("- a\n", "space.yaml: a search space is a mapping"),
        ("a: {\n", r"space.yaml:\d+: not valid YAML"),
        (
            "model.dropout: {low: 0, high: 0.5}\nmodel.dropout: {low: 0, high: 0.6}\n",
            "2: not valid YAML: .*given twice",
        ),
        (
            "model.dropot: {low: 0, high: 1}",
            r"space.yaml: unknown key 'model.dropot'. Did you mean 'model.dropout'\?",
        ),
        ("dropout: {low: 0, high: 1}", r"unknown key 'dropout'. Did you mean 'model.dropout'\?"),
        ("model: {dropout: {low: 0, high: 1}}", "unknown key 'model'"),
        ("model_name: {choices: [ease]}", "unknown key 'model_name'"),
        ("data.path: {choices: [a]}", "data.path: is not searched"),
        ("training.seed: {low: 0, high: 5}", "training.seed: is not searched"),
        ("training.metric: {choices: [ndcg@5]}", "training.metric: is not searched"),
        ("prepare.k_core: {low: 0, high: 5}", "prepare.k_core: is not searched"),
        ("model.dropout: 0.5", "model.dropout: is neither"),
        ("model.dropout:", "model.dropout: is neither"),
        ("model.dropout: {low: 0.5}", "model.dropout: 'high' is missing"),
        (
            "model.dropout: {lo: 0.1, high: 0.5}",
            r"model.dropout: unknown 'lo'. Did you mean 'low'\?",
        ),
        (
            "model.dropout: {choices: [0.1], log: true}",
            "model.dropout: unknown 'log'. Known: choices",
        ),
        ("model.dropout: {choices: []}", "model.dropout: choices: "),
        ("model.dropout: {choices: [0.5, 0.50]}", "model.dropout: names 0.5 twice"),
        ("model.dropout: {choices: [0.5, 2]}", r"model.dropout: .*less than 1 \(got 2\)"),
        ("model.dropout: {low: 0.5, high: 1.5}", r"model.dropout: .*less than 1 \(got 1.5\)"),
        (
            "model.dropout: {low: -1, high: 0.5}",
            r"model.dropout: .*greater than or equal to 0 \(got -1.0\)",
        ),
        ("model.dropout: {low: .nan, high: 0.5}", "model.dropout: low: .*finite"),
        ("model.dropout: {low: few, high: 0.5}", r"model.dropout: low: .*number.*\(got 'few'\)"),
        ("model.dropout: {low: 0.5, high: 0.5}", "model.dropout: low must be below high"),
        (
            "model.dropout: {low: 0.0, high: 0.5, log: true}",
            "model.dropout: log needs a low above 0",
        ),
        (
            "model.dropout: {low: 0.1, high: 0.5, step: 0.1, log: true}",
            "log and step exclude each other",
        ),
        ("model.dropout: {low: 0.1, high: 0.5, step: 0}", "model.dropout: step: "),
        ("model.dropout: {low: 0.1, high: 0.5, step: 0.6}", "step 0.6 is more than lies between"),
        ("model.hidden_dim: {low: 1.5, high: 8}", r"model.hidden_dim: .*integer.*\(got 1.5\)"),
        (
            "model.hidden_dim: {low: 1, high: 8, step: 1.5}",
            "model.hidden_dim: is a whole number, so its step",
        ),
        (
            "training.loss: {low: 0, high: 1}",
            r"training.loss: is not a number.*training.loss: \{choices",
        ),
        ("model.ease: {low: 0, high: 1}", "model.ease: is not a number"),
        ("training.loss: {choices: [mse, hinge]}", r"training.loss: .*\(got 'hinge'\)"),
    ],
)
def test_a_space_that_does_not_fit_is_refused_with_file_and_key(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_space(written(tmp_path, text), Config())
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_missing_space_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: no such search space file"):
        load_space(tmp_path / "none.yaml", Config())


def test_a_value_that_fits_with_other_values_of_the_space_alone_is_accepted():
    base = load_config(None, ["diffusion.mask_rate=0", "training.target=all"])
    space = space_from_mapping(
        {
            "diffusion.mask_rate": {"low": 0, "high": 0.8},
            "training.target": {"choices": ["all", "masked"]},
        },
        base,
    )
    assert (
        with_values(
            base, {"diffusion.mask_rate": 0.5, "training.target": "masked"}
        ).diffusion.mask_rate
        == 0.5
    )
    assert space.contains({"diffusion.mask_rate": 0.0, "training.target": "masked"})


def test_what_may_be_searched_leaves_out_data_and_protocol():
    keys = [key for key, _ in iter_searchable()]
    assert "model.hidden_dim" in keys
    assert not [
        key
        for key in keys
        if key.startswith(("prepare.", "evaluation.", "data.path", "training.seed"))
    ]


@given(
    seed=st.integers(0, 2**32 - 1),
    results=st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=25),
)
def test_proposals_lie_in_the_space_and_follow_from_the_trials_and_the_seed(seed, results):
    space = space_from_mapping(MIXED, Config())
    tried = [space.values_of(Config())]
    for n in range(1, len(results)):
        tried.append(suggest(space, tried, results[:n], seed))
    values = suggest(space, tried, results, seed)
    assert values == suggest(space, tried, results, seed)
    assert space.contains(values)
    assert with_values(Config(), values).model.time_dim % 2 == 0
    assert values["model.bd_blocks"] in (1, 3)
    assert isinstance(values["model.hidden_dim"], int)
    assert round(values["model.dropout"] * 10) / 10 == values["model.dropout"] <= 0.8
    assert float(f"{values['training.learning_rate']:.4g}") == values["training.learning_rate"]


def test_the_estimator_finds_a_planted_optimum_better_than_chance():
    space = space_from_mapping(
        {"training.learning_rate": {"low": 1e-5, "high": 1.0, "log": True}}, Config()
    )

    def result(values):
        return -abs(values["training.learning_rate"] / 3e-3 - 1.0)

    for seed in range(3):
        tried = [space.values_of(Config())]
        for _ in range(30):
            tried.append(suggest(space, tried, [result(values) for values in tried], seed))
        errors = [-result(values) for values in tried]
        assert min(errors[11:]) < 0.2  # chance comes so near in one of thirty trials
        assert (
            sum(error < 1.0 for error in errors[11:]) > 6
        )  # and lies below twice the optimum's value in two of three


def test_a_base_configuration_outside_of_the_space_does_not_disturb_it():
    space = space_from_mapping({"model.dropout": {"low": 0.6, "high": 0.9, "step": 0.1}}, Config())
    assert not space.contains(space.values_of(Config()))
    assert suggest(space, [space.values_of(Config())], [0.5], seed=0)["model.dropout"] >= 0.6


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_no_proposal_around_an_example_is_refused(example):
    base = load_config(example)
    space = builtin_space(base)
    tried = [space.values_of(base)]
    for n in range(30):
        values = suggest(
            space, tried, [float(i) for i in range(len(tried))], n, partial(is_valid, base)
        )
        assert with_values(base, values)
        tried.append(values)
    losses = {values["training.loss"] for values in tried}
    assert (
        losses == {"multinomial"}
        if base.training.sampled_items
        else losses
        == {
            "multinomial",
            "mse",
        }
    )


def test_a_trial_outside_of_the_space_informs_the_sampler_by_what_lies_inside():
    parameters = {
        "model.dropout": {"low": 0.2, "high": 0.5, "step": 0.1},
        "model.bd_blocks": {"low": 2, "high": 5},
        "model.ease_user_exponent": {"choices": [0.0, 1.0]},
        "model.ease": {"choices": [False, True]},
    }
    space = space_from_mapping(parameters, Config())
    values = {
        "model.dropout": 0.7,
        "model.bd_blocks": 1,
        "model.ease_user_exponent": 0.5,
        "model.ease": True,
    }
    distributions = {key: _distribution(one) for key, one in space.parameters.items()}
    (trial,) = _known_trials(space, distributions, [values], [0.25])
    assert trial.params == {"model.dropout": 0.5, "model.bd_blocks": 2, "model.ease": 1}
    assert trial.value == 0.25


@given(value=st.floats(-3, 3), low=st.floats(-1, 1), width=st.floats(0.2, 2))
def test_the_nearest_number_of_a_range_is_in_it(value, low, width):
    step = None if width < 1 else 0.15
    one = Range(low, low + width, step=step)
    nearest = one.nearest(value)
    assert one.contains(nearest)
    if step is None:
        expected = max(0.0, low - value, value - low - width)
        assert abs(nearest - value) == pytest.approx(expected, abs=1e-12)
    else:
        grid = [low + step * n for n in range(int(width / step + 1e-9) + 1)]
        assert abs(nearest - value) <= min(abs(value - point) for point in grid) + 1e-9
    assert one.nearest("text") is None
    assert one.nearest(True) is None


def test_a_finite_space_is_tried_once_and_then_at_its_end():
    space = space_from_mapping(
        {"model.ease": {"choices": [True, False]}, "model.bd_blocks": {"low": 0, "high": 2}},
        Config(),
    )
    tried, results = [], []
    while (values := suggest(space, tried, results, seed=1)) is not None:
        tried.append(values)
        results.append(float(values["model.ease"]))
    assert len(tried) == len({str(values) for values in tried}) == 6


def test_the_estimator_is_silent(capfd):
    space = space_from_mapping(MIXED, Config())
    suggest(space, [space.values_of(Config())], [0.5], seed=0)
    assert capfd.readouterr() == ("", "")


def test_true_and_one_are_different_choices():
    choices = Categorical((1, True))
    assert (choices.position(1), choices.position(True), choices.position(1.0)) == (0, 1, None)
