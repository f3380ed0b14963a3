"""What a comparison finds, and how it goes on after an interruption."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from run_files import edit_manifest, leave_workspace

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.noise.inject import inject_noise
from ld4mrec_cli.experiments.compare.report import failures, main_table, verdict, write_report
from ld4mrec_cli.experiments.compare.results import RESULT, Comparison
from ld4mrec_cli.experiments.directories import lock_directory
from ld4mrec_cli.runs.evaluate import evaluate_run
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.training.trainer import Trainer
from ld4mrec_cli.utils.errors import OutputError, RunError, TrainingInterrupted
from ld4mrec_cli.utils.locks import is_locked
from ld4mrec_cli.utils.workspace import LOCK


def result_of(found, label):
    return next(system for system in found.systems if system.label == label)


def test_a_planted_difference_is_found(bench):
    found = bench.compare([], ["popularity", "ease"], split="valid")
    pair = found.against("ndcg@20", "ease", "popularity")
    assert pair.significant
    assert pair.low > 0
    assert pair.p_holm < 0.001
    assert pair.seen_from("popularity").high == -pair.low
    assert verdict(found, "ndcg@20") == "ndcg@20: ease is better than every other system"
    assert [one.label for one in found.ranked("ndcg@20")] == ["ease", "popularity"]


@pytest.mark.slow
def test_identical_contenders_do_not_differ(bench):
    file = bench.file("one.yaml")
    found = bench.compare([f"a={file}", f"b={file}"], ["popularity"], seeds=(0, 1))
    pair = found.against("recall@20", "a", "b")
    assert (pair.difference, pair.p, pair.significant) == (0.0, 1.0, False)
    assert pair.low <= 0.0 <= pair.high  # other seeds would have made them differ
    assert pair.equal == found.n_users
    assert result_of(found, "a").metrics == result_of(found, "b").metrics


def test_differences_are_of_users_averaged_over_seeds(bench):
    found = bench.compare([bench.file("one.yaml")], ["ease"], seeds=(3, 5))
    dataset, options = Dataset.open(bench.data), bench.plan([], ["ease", "popularity"]).options
    per_user = []
    for name in ("ld4mrec-seed3", "ld4mrec-seed5", "ease-seed3"):
        run = RunDirectory.open(bench.root / "out" / "runs" / name)
        per_user.append(
            evaluate_run(run, dataset, "test", options, torch.device("cpu")).per_user["ndcg@20"]
        )
    moved = (per_user[0] + per_user[1]) / 2 - per_user[2]
    pair = found.against("ndcg@20", "ld4mrec", "ease")
    assert pair.difference == pytest.approx(moved.mean())
    assert pair.a_better == (moved > 1e-9).sum()
    spread = result_of(found, "ld4mrec").metrics["ndcg@20"]
    assert spread.mean == pytest.approx(np.mean([per_user[0].mean(), per_user[1].mean()]))
    assert spread.std == pytest.approx(np.std([per_user[0].mean(), per_user[1].mean()], ddof=1))


def test_a_model_without_a_seed_is_trained_once(bench):
    found = bench.compare([bench.file("one.yaml")], ["ease"], seeds=(4, 2, 3))
    assert [[run.seed for run in one.runs] for one in found.systems] == [[4, 2, 3], [4]]
    assert result_of(found, "ease").metrics["ndcg@20"].std is None
    assert result_of(found, "ld4mrec").metrics["ndcg@20"].std > 0
    seeds = [
        RunDirectory.open(bench.root / "out" / run.path).manifest.seed
        for run in found.systems[0].runs
    ]
    assert seeds == [4, 2, 3]


def test_the_test_split_is_opened_after_the_last_training(bench, monkeypatch):
    opened = []
    original = Dataset.matrix

    def matrix(self, *splits, **options):
        opened.extend(splits)
        return original(self, *splits, **options)

    monkeypatch.setattr(Dataset, "matrix", matrix)
    bench.train.before = lambda number: opened.append(f"training {number}")
    bench.compare([bench.file("one.yaml")], ["ease"])
    assert opened.index("test") > opened.index("training 2")


def test_a_refused_contender_is_a_row_and_the_others_go_on(bench):
    bad = bench.file("bad.yaml", data={"modalities": ["sound"]})
    found = bench.compare([f"deaf={bad}"], ["ease", "popularity"], seeds=(0, 1))
    assert [one.label for one in found.working] == ["ease", "popularity"]
    assert {(pair.a, pair.b) for pair in found.pairs["ndcg@20"]} == {("ease", "popularity")}
    assert result_of(found, "deaf").metrics == {}
    assert [line.split(":")[0] for line in failures(found)] == [
        "deaf failed with seed 0",
        "deaf failed with seed 1",
    ]
    assert "has no modality 'sound'" in failures(found)[0]


def test_a_diverging_contender_is_a_row_and_stays_one(bench):
    file = bench.file("wild.yaml", training={"learning_rate": 1e30})
    found = bench.compare([file], ["ease", "popularity"])
    assert "became" in result_of(found, "ld4mrec").runs[0].error
    again = bench.compare([file], ["ease", "popularity"])
    assert "diverged" in result_of(again, "ld4mrec").runs[0].error
    assert len(bench.train.calls) == 3


def test_a_contender_of_which_one_seed_fails_is_compared_by_the_others(bench):
    taken = bench.root / "out" / "runs" / "ld4mrec-seed1"

    def take(number):
        if number == 2:
            taken.mkdir()
            (taken / "notes.txt").write_text("mine")

    bench.train.before = take
    found = bench.compare([bench.file("one.yaml")], ["ease"], seeds=(0, 1))
    mine = result_of(found, "ld4mrec")
    assert [run.error is None for run in mine.runs] == [True, False]
    assert mine.metrics["ndcg@20"].mean == mine.runs[0].metrics["ndcg@20"]
    assert mine.metrics["ndcg@20"].std is None
    assert found.against("ndcg@20", "ease", "ld4mrec").difference == pytest.approx(
        result_of(found, "ease").metrics["ndcg@20"].mean - mine.metrics["ndcg@20"].mean
    )
    assert main_table(found).rows[0][1] == "1 of 2"


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_where_it_stopped(bench, monkeypatch):
    file, original = bench.file("one.yaml", training={"max_epochs": 3}), Trainer._train_epoch
    whole = bench.compare([file], ["ease"], seeds=(0, 1), out="whole")
    bench.train.calls.clear()

    def epoch(self, on_batch):
        if len(bench.train.calls) == 2 and self.progress.epoch == 2:
            raise KeyboardInterrupt
        return original(self, on_batch)

    monkeypatch.setattr(Trainer, "_train_epoch", epoch)
    with pytest.raises(
        TrainingInterrupted, match=r"Continue it with the same command and --out .*out"
    ):
        bench.compare([file], ["ease"], seeds=(0, 1))
    assert json.loads((bench.root / "out" / RESULT).read_text())["status"] == "running"
    monkeypatch.undo()

    bench.train.calls.clear()
    found = bench.compare([file], ["ease"], seeds=(0, 1))
    first, second = bench.train.calls
    assert "--resume" in first
    assert any("ld4mrec-seed1" in argument for argument in first)
    assert "--resume" not in second
    for one, other in zip(found.systems, whole.systems, strict=True):
        assert one.metrics == other.metrics
    assert found.pairs == whole.pairs

    bench.train.calls.clear()
    assert bench.compare([file], ["ease"], seeds=(0, 1)).pairs == whole.pairs
    assert bench.train.calls == []
    bench.compare([file], ["ease"], seeds=(0, 1, 2))
    assert len(bench.train.calls) == 1


def test_what_a_killed_training_left_is_trained_anew(bench):
    path = bench.root / "out" / "runs" / "ease-seed0"
    bench.compare([], ["ease", "popularity"])
    shutil.rmtree(path)
    path.mkdir()
    leave_workspace(path / "manifest.json")
    assert result_of(bench.compare([], ["ease", "popularity"]), "ease").worked


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"overrides": ["training.learning_rate=0.5"]},
            "training.learning_rate was 0.002 in this run and is 0.5 now",
        ),
        ({"data": True}, "was trained on other data"),
    ],
)
def test_runs_of_other_settings_or_data_are_not_taken(bench, change, message):
    bench.compare([bench.file("one.yaml")], ["ease"])
    bench.train.calls.clear()
    if change.pop("data", False):
        inject_noise(bench.data, bench.root / "noisy", "random", 0.2, 0)
        bench.data = bench.root / "noisy"
    with pytest.raises(RunError, match=message):
        bench.compare([bench.file("one.yaml")], ["ease"], **change)
    assert bench.train.calls == []


def test_a_setting_that_a_run_did_not_know_is_not_taken_for_its_default(bench):
    """A run without the setting may have another objective, unless its model does not read it."""
    bench.compare([bench.file("one.yaml")], ["ease"])
    bench.train.calls.clear()
    for label in ("ease-seed0", "ld4mrec-seed0"):
        edit_manifest(
            bench.root / "out" / "runs" / label,
            lambda values: values["config"]["training"].pop("row_weight_exponent"),
        )
        if label == "ease-seed0":
            bench.compare([bench.file("one.yaml")], ["ease"])
    with pytest.raises(
        RunError, match=r"training\.row_weight_exponent was None in this run and is 0\.5 now"
    ):
        bench.compare([bench.file("one.yaml")], ["ease"])
    assert bench.train.calls == []


def test_other_cutoffs_and_a_moved_dataset_need_no_new_training(bench):
    bench.compare([], ["ease", "popularity"])
    bench.data = shutil.copytree(bench.data, bench.root / "moved")
    found = bench.compare([], ["ease", "popularity"], metric="recall@3", evaluation__k=(2,))
    assert len(bench.train.calls) == 2
    assert found.k == [2, 3]


def test_a_run_that_is_being_trained_is_left_alone(bench):
    bench.compare([], ["ease", "popularity"])
    run = RunDirectory.open(bench.root / "out" / "runs" / "ease-seed0")
    with run.locked(), pytest.raises(RunError, match="is being trained by another process"):
        bench.compare([], ["ease", "popularity"])


def test_the_json_reads_back(bench):
    plan = bench.plan([], ["ease", "popularity"])
    found = bench.compare([], ["ease", "popularity"])
    write_report(found, plan)
    assert Comparison.model_validate_json((plan.out / RESULT).read_text()) == found


def test_nobody_working_is_still_reported(bench):
    bad = [
        f"{name}={bench.file('bad.yaml', data={'modalities': ['sound']})}" for name in ("a", "b")
    ]
    found = bench.compare(bad)
    write_report(found, bench.plan(bad))
    assert (found.working, found.n_users, found.pairs["ndcg@20"]) == ([], None, [])
    text = (bench.root / "out" / "comparison.md").read_text()
    assert "nothing to compare, no system worked" in text
    assert not (bench.root / "out" / "comparison.png").exists()


def test_a_second_comparison_on_the_same_directory_is_refused(bench):
    first = bench.compare([], ["popularity", "ease"])
    before = (bench.root / "out" / RESULT).read_bytes()
    with (
        lock_directory(bench.root / "out", "comparison"),
        pytest.raises(RunError, match="another process is using this comparison"),
    ):
        bench.compare([], ["popularity", "itemknn"])
    assert (bench.root / "out" / RESULT).read_bytes() == before
    assert not (bench.root / "out" / "runs" / "itemknn-seed0").exists()
    again = bench.compare([], ["popularity", "ease"])  # the lock is free again
    assert again.pairs == first.pairs


def test_the_lock_is_held_until_the_report_is_written(bench, monkeypatch):
    locks = []
    out = bench.root / "out"
    monkeypatch.setattr(
        "ld4mrec_cli.experiments.compare.comparison.write_report",
        lambda comparison, plan: locks.append(is_locked(out / LOCK)),
    )
    bench.compare([], ["popularity", "ease"])
    assert locks == [True]
    assert not is_locked(out / LOCK)


def test_a_kill_before_the_first_file_does_not_block_the_directory(bench):
    out = bench.root / "out"
    out.mkdir()
    (out / LOCK).touch()
    leave_workspace(out / RESULT)
    bench.compare([], ["popularity", "ease"])
    assert Comparison.model_validate_json((out / RESULT).read_text()).status == "complete"
    assert not list(out.glob(".*"))


def test_a_kill_right_after_the_first_file_does_not_block_the_directory(bench, monkeypatch):
    def kill(*arguments):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("ld4mrec_cli.experiments.compare.comparison.config_to_yaml", kill)
        with pytest.raises(SystemExit):
            bench.compare([], ["popularity", "ease"])
    assert len(bench.compare([], ["popularity", "ease"]).working) == 2


@pytest.mark.parametrize("name", ["notes.txt", ".other.json.abc.tmp"])
def test_a_directory_with_other_files_is_not_used_for_a_comparison(bench, name):
    out = bench.root / "out"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(OutputError, match="was not written by ld4mrec"):
        bench.compare([], ["popularity", "ease"])
    assert [path.name for path in out.iterdir()] == [name]
