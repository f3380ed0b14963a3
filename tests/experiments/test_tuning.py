"""The search: what it finds, keeps, survives and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from run_files import change_test_split, edit_manifest, leave_workspace

from ld4mrec_cli.config import config_to_yaml, load_config
from ld4mrec_cli.experiments.tune import trials as trials_module
from ld4mrec_cli.experiments.tune.records import Budget
from ld4mrec_cli.experiments.tune.search import SearchDirectory
from ld4mrec_cli.experiments.tune.space_io import space_from_mapping
from ld4mrec_cli.experiments.tune.tuning import SearchCallbacks, tune
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.runs.scorer import load_scorer
from ld4mrec_cli.training.session import Callbacks
from ld4mrec_cli.utils.errors import (
    ConfigError,
    DatasetError,
    DeviceError,
    OutputError,
    RunError,
    StudyFailed,
    TrainingInterrupted,
)

RIDGE = {"ease.ridge": {"low": 0.1, "high": 1e4, "log": True}}
NETWORK = {
    "training.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
    "model.dropout": {"low": 0.2, "high": 0.8, "step": 0.1},
}


@pytest.fixture
def ease(planted_config):
    """EASE with a ridge far too small."""
    return planted_config(model_name="ease", ease__ridge=0.2)


def search(base, space, out, trials=None, minutes=None, callbacks=None):
    """Run a search; the space is given as in a file."""
    budget = Budget(trials=trials, minutes=minutes)
    return tune(base, space_from_mapping(space, base), out, budget, callbacks or SearchCallbacks())


def lines(path: Path) -> list[dict]:
    """The trials as written, without what differs from run to run."""
    found = [json.loads(line) for line in (path / "trials.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in found]


def files(path: Path) -> dict[str, set[str]]:
    return {run.name: {file.name for file in run.iterdir()} for run in (path / "trials").iterdir()}


def interrupting(trial: int, epoch: int = 0) -> SearchCallbacks:
    """Interrupts before a trial, or after an epoch of it."""
    now = []

    def on_trial(number, values):
        now.append(number)
        if number == trial and not epoch:
            raise KeyboardInterrupt

    def on_epoch(report):
        if now[-1] == trial and report.epoch == epoch:
            raise KeyboardInterrupt

    return SearchCallbacks(on_trial=on_trial, training=Callbacks(on_epoch=on_epoch))


@pytest.mark.slow
def test_a_planted_optimum_is_found_and_written_as_a_config(ease, tmp_path):
    found = search(ease, RIDGE, tmp_path / "s", trials=20)
    start, best = found.trials[0], found.best()
    assert start.values == {"ease.ridge": 0.2}
    assert found.value(best) > 1.2 * found.value(start)
    config = load_config(tmp_path / "s" / "best.yaml")
    assert config.ease.ridge == best.values["ease.ridge"] > 10
    changed = ease.ease.model_copy(update={"ridge": config.ease.ridge})
    assert config == ease.model_copy(update={"ease": changed})
    text = (tmp_path / "s" / "best.yaml").read_text()
    assert text.startswith("# The best of 20 trials of `ld4mrec tune`: ease on planted")
    assert f"# ease.ridge: 0.2 -> {best.values['ease.ridge']}\n" in text
    assert (tmp_path / "s" / "search.png").read_bytes().startswith(b"\x89PNG")


def test_the_start_stays_best_where_nothing_beats_it(planted_config, tmp_path):
    base = planted_config(model_name="ease", ease__ridge=500.0)
    found = search(base, {"ease.ridge": {"choices": [0.2]}}, tmp_path / "s", trials=2)
    assert [trial.values["ease.ridge"] for trial in found.trials] == [500.0, 0.2]
    assert found.best() is found.trials[0]
    assert load_config(tmp_path / "s" / "best.yaml") == base
    assert "the search started from" in (tmp_path / "s" / "best.yaml").read_text()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trials_and_another_seed_others(ease, tmp_path):
    for name in ("a", "b"):
        search(ease, RIDGE, tmp_path / name, trials=14)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    other = ease.model_copy(update={"training": ease.training.model_copy(update={"seed": 1})})
    search(other, RIDGE, tmp_path / "c", trials=3)
    assert [line["values"] for line in lines(tmp_path / "c")][1:] != [
        line["values"] for line in lines(tmp_path / "a")
    ][1:3]


@pytest.mark.slow
def test_the_test_split_changes_nothing(ease, planted_config, planted_dataset, tmp_path):
    """Runs copy it for serving, and nothing else: other test interactions, the same search."""
    data = Path(shutil.copytree(planted_dataset, tmp_path / "data"))
    change_test_split(data)
    for name, base, space in (("e", ease, RIDGE), ("n", planted_config(), NETWORK)):
        moved = base.model_copy(update={"data": base.data.model_copy(update={"path": data})})
        first = search(base, space, tmp_path / name, trials=3).trials
        second = search(moved, space, tmp_path / f"{name}-moved", trials=3).trials
        assert [trial.values for trial in first] == [trial.values for trial in second]
        assert [trial.valid for trial in first] == [trial.valid for trial in second]


@pytest.mark.slow
def test_only_the_best_run_keeps_its_weights(planted_config, tmp_path):
    found = search(planted_config(), NETWORK, tmp_path / "s", trials=4)
    best = found.best()
    kept = files(tmp_path / "s")
    assert set(kept) == {"000", "001", "002", "003"}
    for trial in found.trials:
        if trial is not best:
            assert kept[f"{trial.number:03d}"] == {"manifest.json", "config.yaml", "metrics.jsonl"}
    run = RunDirectory.open(found.run_path(best.number))
    assert load_scorer(run, torch.device("cpu"))
    assert run.manifest.best.valid == best.valid
    assert {file.name for file in (tmp_path / "s").iterdir()} == {
        "search.json", "trials.jsonl", "trials", "best.yaml", "search.png"
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("trial", "epoch"), [(0, 1), (2, 0), (2, 1)])
def test_an_interrupted_search_continues_to_the_same_result(planted_config, tmp_path, trial, epoch):
    base = planted_config(training__max_epochs=2)
    search(base, NETWORK, tmp_path / "whole", trials=3)
    with pytest.raises(
        TrainingInterrupted, match=rf"after {trial} trials.*ld4mrec tune --out \S+cut"
    ):
        search(base, NETWORK, tmp_path / "cut", trials=3, callbacks=interrupting(trial, epoch))
    assert (tmp_path / "cut" / "best.yaml").exists() == (trial > 0)
    search(base, NETWORK, tmp_path / "cut", trials=3)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    texts = [(tmp_path / name / "best.yaml").read_bytes() for name in ("cut", "whole")]
    assert texts[0] == texts[1]
    best = SearchDirectory.open(tmp_path / "whole")
    best.read_trials()
    weights = [
        tmp_path / name / "trials" / best.run_path(best.best().number).name
        for name in ("cut", "whole")
    ]
    assert (weights[0] / "weights.safetensors").read_bytes() == (
        weights[1] / "weights.safetensors"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("left", ["empty", "half", "unreadable", "other", "complete"])
def test_what_a_kill_left_of_a_trial_does_no_harm(planted_config, tmp_path, left):
    base = planted_config(training__max_epochs=2)
    search(base, NETWORK, tmp_path / "whole", trials=2)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    path = tmp_path / "cut" / "trials" / "001"
    kept = (tmp_path / "cut" / "trials.jsonl").read_text().splitlines(keepends=True)[:1]
    (tmp_path / "cut" / "trials.jsonl").write_text("".join(kept))
    if left == "other":

        def change(values):
            values["config"]["model"]["dropout"] = 0.15
            values["best"]["valid"] = dict.fromkeys(values["best"]["valid"], 1.0)

        edit_manifest(path, change)
    elif left != "complete":
        shutil.rmtree(path)
        path.mkdir()
        names = {
            "empty": [],
            "half": [],
            "unreadable": ["manifest.json", "x"],
        }[left]
        for name in names:
            (path / name).write_text("{")
    if left in ("half", "complete"):
        leave_workspace(path / "manifest.json")
    leave_workspace(path.with_name("000") / "manifest.json")
    search(base, NETWORK, tmp_path / "cut", trials=2)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert not list((tmp_path / "cut").rglob(".*"))


@pytest.mark.slow
def test_a_search_is_extended_as_if_it_had_been_longer(ease, tmp_path):
    search(ease, RIDGE, tmp_path / "whole", trials=6)
    search(ease, RIDGE, tmp_path / "s", trials=3)
    search(ease, RIDGE, tmp_path / "s", trials=6)
    assert lines(tmp_path / "s") == lines(tmp_path / "whole")
    assert SearchDirectory.open(tmp_path / "s").info.budget.trials == 6
    search(ease, RIDGE, tmp_path / "s", trials=2)  # spent long since
    assert len(lines(tmp_path / "s")) == 6


def test_the_time_budget_stops_a_trial_and_keeps_its_best_weights(planted_config, tmp_path):
    base = planted_config(training__max_epochs=500, training__patience=500)
    found = search(base, NETWORK, tmp_path / "s", minutes=1e-6)
    (trial,) = found.trials
    assert (trial.status, trial.epochs, trial.best_epoch) == ("timed_out", 1, 1)
    run = RunDirectory.open(found.run_path(0))
    assert run.manifest.status == "complete"
    assert load_scorer(run, torch.device("cpu"))
    assert load_config(tmp_path / "s" / "best.yaml").training.max_epochs == 500
    assert "checkpoint.safetensors" not in files(tmp_path / "s")["000"]


@pytest.mark.slow
def test_the_time_budget_counts_all_trials_and_can_be_extended(
    planted_config, tmp_path, monkeypatch
):
    clock = iter(range(0, 1_000_000, 10))  # ten seconds between two looks at the clock
    monkeypatch.setattr(trials_module.time, "monotonic", lambda: float(next(clock)))
    base = planted_config(training__max_epochs=3)
    first = search(base, NETWORK, tmp_path / "s", minutes=5)
    n, spent = len(first.trials), sum(trial.seconds for trial in first.trials)
    assert n > 1
    assert 300 <= spent < 300 + max(trial.seconds for trial in first.trials)
    assert {trial.status for trial in first.trials[:-1]} == {"complete"}
    again = search(base, NETWORK, tmp_path / "s", minutes=5)
    assert len(again.trials) == n
    more = search(base, NETWORK, tmp_path / "s", minutes=10)
    assert len(more.trials) > n
    assert more.trials[:n] == first.trials


def test_a_trial_cut_by_the_time_and_then_by_a_kill_is_still_stopped(
    planted_config, tmp_path, monkeypatch
):
    base = planted_config(training__max_epochs=500, training__patience=500)
    search(base, NETWORK, tmp_path / "s", minutes=1e-6)
    before = lines(tmp_path / "s")
    (tmp_path / "s" / "trials.jsonl").unlink()  # as if killed before the line was written
    assert search(base, NETWORK, tmp_path / "s", minutes=1e-6).trials[0].status == "timed_out"
    assert lines(tmp_path / "s") == before


def test_a_diverged_trial_is_recorded_and_the_search_goes_on(planted_config, tmp_path):
    base = planted_config(training__learning_rate=1e30)
    space = {"training.learning_rate": {"choices": [1e30, 0.002]}}
    found = search(base, space, tmp_path / "s", trials=2)
    assert [trial.status for trial in found.trials] == ["failed", "complete"]
    assert "the loss became" in found.trials[0].reason
    assert found.best() is found.trials[1]
    assert "without a result" in (tmp_path / "s" / "best.yaml").read_text()
    assert search(base, space, tmp_path / "s", trials=2).trials == found.trials


def test_a_refused_trial_is_recorded_and_the_search_goes_on(planted_config, tmp_path):
    space = {
        "model.guidance": {"choices": [["collaborative"], ["sound"]]},
        "diffusion.mask_rate": {"choices": [0.0, 0.6]},
    }
    notes = []
    callbacks = SearchCallbacks(on_note=notes.append)
    found = search(
        planted_config(model__guidance=["collaborative"]),
        space,
        tmp_path / "s",
        trials=9,
        callbacks=callbacks,
    )
    # A mask rate of 0 beside target=masked is never proposed; that there is no 'sound' shows later.
    assert [trial.status for trial in found.trials] == ["complete", "invalid"]
    assert "model.guidance names 'sound'" in found.trials[1].reason
    assert notes == ["every combination of the search space was tried"]


def test_running_out_of_memory_is_a_result_and_a_fault_of_the_program_is_not(
    planted_config, tmp_path, monkeypatch
):
    original = trials_module.run_training
    errors = [
        None,
        RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"),
        ZeroDivisionError(),
    ]

    def train(config, path, callbacks):
        error = errors.pop(0)
        if error:
            raise error
        return original(config, path, callbacks)

    monkeypatch.setattr(trials_module, "run_training", train)
    with pytest.raises(ZeroDivisionError):
        search(planted_config(), NETWORK, tmp_path / "s", trials=3)
    assert [(line["status"], line["reason"]) for line in lines(tmp_path / "s")] == [
        ("complete", None),
        ("failed", "out of memory"),
    ]


def test_a_search_without_any_result_has_failed(planted_config, tmp_path):
    base = planted_config(training__learning_rate=1e30)
    space = {"training.learning_rate": {"low": 1e29, "high": 1e30}}
    with pytest.raises(
        StudyFailed, match="no trial of 2 gave a result; the last: the loss became"
    ) as caught:
        search(base, space, tmp_path / "s", trials=2)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "s" / "best.yaml").exists()


def test_what_train_would_refuse_is_refused_at_once_and_leaves_nothing(
    planted_config, planted_dataset, tmp_path
):
    with pytest.raises(ConfigError, match=r"model\.guidance names 'sound'"):
        search(planted_config(model__guidance=["sound"]), NETWORK, tmp_path / "s", trials=5)
    with pytest.raises(DatasetError, match="no such dataset"):
        search(planted_config(data__path="nowhere"), NETWORK, tmp_path / "s", trials=5)
    with pytest.raises(DeviceError):
        search(planted_config(training__device="gpu"), NETWORK, tmp_path / "s", trials=5)
    data = Path(shutil.copytree(planted_dataset, tmp_path / "data"))
    (data / "valid.parquet").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="was changed"):
        search(planted_config(data__path=str(data)), NETWORK, tmp_path / "s", trials=5)
    assert not (tmp_path / "s").exists()


def test_an_error_in_a_later_trial_that_all_would_meet_ends_the_search(
    planted_config, planted_dataset, tmp_path
):
    data = Path(shutil.copytree(planted_dataset, tmp_path / "data"))

    def on_trial(number, values):
        if number == 1:
            (data / "train.parquet").write_bytes(b"damaged")

    with pytest.raises(DatasetError, match="was changed"):
        search(
            planted_config(data__path=str(data)),
            NETWORK,
            tmp_path / "s",
            trials=3,
            callbacks=SearchCallbacks(on_trial),
        )
    assert len(lines(tmp_path / "s")) == 1


def test_another_search_is_refused_with_what_differs(ease, planted_config, tmp_path):
    search(ease, RIDGE, tmp_path / "s", trials=1)
    before = (tmp_path / "s" / "search.json").read_bytes()
    seeded = ease.model_copy(update={"training": ease.training.model_copy(update={"seed": 1})})
    with pytest.raises(ConfigError, match=r"other settings: training\.seed was 0 and is 1 now"):
        search(seeded, RIDGE, tmp_path / "s", trials=2)
    with pytest.raises(
        ConfigError, match='other settings: model_name was "ease" and is "ld4mrec" now'
    ):
        search(planted_config(ease__ridge=0.2), NETWORK, tmp_path / "s", trials=2)
    narrower = {"ease.ridge": {"low": 1, "high": 1e4, "log": True}}
    with pytest.raises(
        ConfigError, match=r'another space: ease.ridge was {"low": 0.1, .* and is {"low": 1.0'
    ):
        search(ease, narrower, tmp_path / "s", trials=2)
    assert (tmp_path / "s" / "search.json").read_bytes() == before


def test_another_dataset_is_refused_and_a_moved_one_taken_up(ease, planted_dataset, tmp_path):
    search(ease, RIDGE, tmp_path / "s", trials=1)
    moved = Path(shutil.copytree(planted_dataset, tmp_path / "moved"))
    there = ease.model_copy(update={"data": ease.data.model_copy(update={"path": moved})})
    assert len(search(there, RIDGE, tmp_path / "s", trials=2).trials) == 2
    assert load_config(tmp_path / "s" / "best.yaml").data.path == moved
    schema = json.loads((moved / "schema.json").read_text())
    schema["files"]["train.parquet"] = "0" * 64
    (moved / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(DatasetError, match=r"is not the dataset that .* was searched on"):
        search(there, RIDGE, tmp_path / "s", trials=2)


def test_a_search_at_work_is_left_alone(ease, tmp_path):
    search(ease, RIDGE, tmp_path / "s", trials=1)
    with (
        SearchDirectory.open(tmp_path / "s").locked(),
        pytest.raises(RunError, match="worked on by another process"),
    ):
        search(ease, RIDGE, tmp_path / "s", trials=2)
    assert len(lines(tmp_path / "s")) == 1
    assert SearchDirectory.open(tmp_path / "s").info.budget.trials == 1


def test_a_kill_before_the_first_file_does_not_block_the_search_directory(ease, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / ".lock").touch()
    leave_workspace(tmp_path / "s" / "search.json")
    search(ease, RIDGE, tmp_path / "s", trials=1)
    assert len(lines(tmp_path / "s")) == 1
    assert not list((tmp_path / "s").glob(".*"))


def test_a_directory_of_something_else_is_left_alone(ease, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and holds no search"):
        search(ease, RIDGE, tmp_path / "mine", trials=1)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def swapped(text):
    first, second = text.splitlines()
    return f"{second}\n{first}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text + "{\n", r"trials.jsonl:3: is no trial"),
        (
            lambda text: text.replace('"seed":0', '"seed":0,"note":1'),
            r"trials.jsonl:1: is no trial",
        ),
        (swapped, r"trials.jsonl:1: is trial 1, trial 0 belongs here"),
        (lambda text: text.splitlines()[1] + "\n", r"trials.jsonl:1: is trial 1"),
        (
            lambda text: text.replace("ease.ridge", "ease.rigde"),
            r"trial 0 has other settings than the search space",
        ),
        (lambda text: text.replace('"seed":0', '"seed":7'), r"trial 0 is not of this search"),
        (lambda text: text.replace('"complete"', '"failed"'), r"trial 0 is not of this search"),
        (
            lambda text: text.replace('"ndcg@20":0.', '"ndcg@20":0.9'),
            r"trial 0 is not what its run directory says",
        ),
        (
            lambda text: text.replace(":0.2}", ":0.3}"),
            r"trial 0 is not what its run directory says",
        ),
        (
            lambda text: text.replace('"ndcg@20":0.', '"ndcg@20":NaN,"x":0.'),
            r"trials.jsonl:1: is no trial",
        ),
    ],
)
def test_changed_trials_are_noticed(ease, tmp_path, change, message):
    search(ease, RIDGE, tmp_path / "s", trials=2)
    path = tmp_path / "s" / "trials.jsonl"
    text = path.read_text()
    path.write_text(change(text))
    assert path.read_text() != text
    with pytest.raises(RunError, match=message):
        search(ease, RIDGE, tmp_path / "s", trials=3)


def test_a_damaged_search_file_is_noticed(ease, tmp_path):
    search(ease, RIDGE, tmp_path / "s", trials=1)
    path = tmp_path / "s" / "search.json"
    values = json.loads(path.read_text())
    for change, message in (
        ({"base": {"model": {"hiden_dim": 1}}}, "holds a configuration that does not fit"),
        ({"space": {"x": 1}}, "is damaged"),
        (
            {"space": {"model.dropout": {"low": 1, "high": 2}}},
            "holds a search space that does not fit",
        ),
    ):
        path.write_text(json.dumps({**values, **change}))
        with pytest.raises(RunError, match=message):
            assert SearchDirectory.open(tmp_path / "s").space


def test_a_search_without_out_goes_into_runs_and_leaves_latest_alone(ease, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = search(ease, RIDGE, None, trials=1)
    assert found.path.parent == Path("runs")
    assert found.path.name.startswith("tune-ease-planted-")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [found.path.name]


def test_the_best_config_is_the_base_but_for_the_space(planted_config, tmp_path):
    base = planted_config(training__max_epochs=1)
    found = search(base, NETWORK, tmp_path / "s", trials=3)
    best = load_config(tmp_path / "s" / "best.yaml")
    differing = [
        (old, new)
        for old, new in zip(
            config_to_yaml(base).splitlines(), config_to_yaml(best).splitlines(), strict=True
        )
        if old != new
    ]
    assert len(differing) == sum(
        found.best().values[key] != found.trials[0].values[key] for key in NETWORK
    )
