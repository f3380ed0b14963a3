"""Who takes part, under which label, on which data."""

from __future__ import annotations

import shutil

import pytest
from model_zoo import CLOSED_FORM, DETERMINISTIC

from ld4mrec_cli.data.noise.inject import inject_noise
from ld4mrec_cli.experiments.compare.systems import (
    read_systems,
    shared_dataset,
    shared_evaluation,
    uses_seed,
)
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.utils.errors import ConfigError, DatasetError, OutputError, UserError


def labels(configs=(), models=()):
    return [system.label for system in read_systems(configs, models, (), {})]


def test_a_label_is_the_model_and_the_file_too_where_that_is_shared(bench):
    one, other = bench.file("one.yaml"), bench.file("deep/the other.yaml")
    assert labels([one], ["ease"]) == ["ld4mrec", "ease"]
    assert labels([one, other], ["ld4mrec"]) == ["ld4mrec-one", "ld4mrec-the-other", "ld4mrec"]
    assert labels([one, bench.file("ld4mrec-wide.yaml")]) == ["ld4mrec-one", "ld4mrec-wide"]
    assert labels([f"tuned={one}", other]) == ["tuned", "ld4mrec"]


def test_a_file_of_that_very_name_is_no_label(bench, monkeypatch):
    monkeypatch.chdir(bench.root)
    bench.file("a=b.yaml")
    assert labels(["a=b.yaml"], ["ease"]) == ["ld4mrec", "ease"]


@pytest.mark.parametrize(
    ("configs", "models", "message"),
    [
        ([], [], "needs two systems, and none is named"),
        ([], ["ease"], "needs two systems, and 1 is named"),
        ([], ["ease", "popularty"], "unknown model 'popularty'. Did you mean 'popularity'?"),
        ([], ["ease", "ease"], "2 systems are labeled 'ease'"),
        (["EASE=FILE"], ["ease"], "2 systems are labeled 'ease'"),
        (["FILE", "FILE"], [], "2 systems are labeled 'ld4mrec-one'. Give each a label of its own"),
        (["../x=FILE"], ["ease"], "'../x' is no label"),
        (["nowhere.yaml"], ["ease"], "nowhere.yaml: no such configuration file"),
    ],
)
def test_who_cannot_take_part(bench, configs, models, message):
    file = bench.file("one.yaml")
    with pytest.raises(UserError) as caught:
        labels([text.replace("FILE", file) for text in configs], models)
    assert message in str(caught.value)


@pytest.mark.parametrize("override", ["model_name=ease", "training.seed=3"])
def test_what_tells_contenders_apart_is_not_set_for_all(override):
    with pytest.raises(ConfigError, match="would be the same for all systems"):
        read_systems([], ["ease", "popularity"], [override], {})


def test_settings_for_all_reach_all(bench):
    found = read_systems(
        [bench.file("one.yaml")], ["ease"], ["training.patience=7"], {"training.device": "cpu"}
    )
    assert [(one.config.training.patience, one.config.training.device) for one in found] == [
        (7, "cpu")
    ] * 2


def test_models_without_a_seed_are_those_that_are_fitted_without_drawing():
    assert not any(uses_seed(name) for name in DETERMINISTIC)
    assert set(CLOSED_FORM) > set(DETERMINISTIC)
    assert {name for name in MODELS if not uses_seed(name)} == set(DETERMINISTIC)


def test_a_model_without_a_file_takes_the_data_and_protocol_of_the_files(bench):
    told = bench.file(
        "one.yaml", data={"path": str(bench.data)}, evaluation={"k": [3, 9], "mask": "train+valid"}
    )
    systems = read_systems([told], ["ease"], [], {})
    assert shared_dataset(systems).directory == bench.data
    found = shared_evaluation(systems)
    assert (found.k, found.mask) == ((3, 9), "train+valid")


def test_no_dataset_at_all():
    with pytest.raises(ConfigError, match=r"no dataset is named\. Give --data DIR"):
        shared_dataset(read_systems([], ["ease", "popularity"], [], {}))


def test_a_copy_is_the_same_data_and_a_noisy_one_is_not(bench):
    copied, noisy = bench.root / "copied", bench.root / "noisy"
    shutil.copytree(bench.data, copied)
    inject_noise(bench.data, noisy, "random", 0.2, 0)
    here = bench.file("here.yaml", data={"path": str(bench.data)})
    there = bench.file("there.yaml", data={"path": str(copied)})
    other = bench.file("other.yaml", data={"path": str(noisy)})
    assert shared_dataset(read_systems([here, there], [], [], {})).directory == bench.data
    with pytest.raises(DatasetError, match=r"which are not the same data\. Give --data DIR"):
        shared_dataset(read_systems([here, other], [], [], {}))
    assert (
        shared_dataset(read_systems([here, other], [], [], {"data.path": str(noisy)})).directory
        == noisy
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"k": [7]},
            "evaluation.k is .* for ld4mrec-one and .7,. for ld4mrec-other. Give --k for all",
        ),
        (
            {"mask": "train+valid"},
            "evaluation.mask is 'train' for ld4mrec-one and 'train.valid' for ld4mrec-other",
        ),
    ],
)
def test_protocols_must_agree(bench, options, message):
    files = [bench.file("one.yaml"), bench.file("other.yaml", evaluation=options)]
    with pytest.raises(ConfigError, match=message):
        bench.plan(files)
    assert bench.plan(files, evaluation__k=(5,), evaluation__mask="train").options.mask == "train"


def test_the_cutoff_of_the_metric_is_always_there(bench):
    plan = bench.plan([], ["ease", "popularity"], metric="map@7", evaluation__k=(20, 3))
    assert plan.options.k == (3, 7, 20)
    assert plan.tested == ("recall@7", "ndcg@7", "map@7")
    assert [system.config.evaluation.k for system in plan.systems] == [(3, 7, 20)] * 2


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("ndgc@20", "Did you mean 'ndcg'"),
        ("ndcg", "has no cutoff. Give it as ndcg@20"),
        ("ndcg@0", "cutoff"),
        ("coverage@20", "unknown metric"),
    ],
)
def test_unknown_metrics(bench, metric, message):
    with pytest.raises(UserError, match=message):
        bench.plan([], ["ease", "popularity"], metric=metric)


def test_a_directory_that_holds_something_else_is_left_alone(bench):
    (bench.root / "out").mkdir()
    (bench.root / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="was not written by ld4mrec"):
        bench.compare([], ["ease", "popularity"])
    assert [path.name for path in (bench.root / "out").iterdir()] == ["notes.txt"]
