"""`runs`, and the metrics that `evaluate` notes in a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from run_files import edit_manifest

from ld4mrec_cli.runs.evaluations import read_evaluations
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.utils.errors import RunError


@pytest.fixture
def run(workspace, tmp_path):
    without = shutil.ignore_patterns("evaluation.json")  # of tests before this one
    return Path(shutil.copytree(workspace.run, tmp_path / "runs" / "first", ignore=without))


def evaluate(cli, run, *arguments):
    return cli("evaluate", "--run", run, "--format", "json", *arguments).json["metrics"]


def noted(run, split):
    return {
        f"{name}@{k}": value
        for k, measured in read_evaluations(run).splits[split].items()
        for name, value in measured.metrics.items()
    }


def test_what_is_measured_is_noted_by_split_and_cutoff(cli, run):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    first = evaluate(cli, run, "--k", "5,20")
    assert noted(run, "test") == first
    valid = evaluate(cli, run, "--split", "valid", "--k", "20")
    masked = evaluate(cli, run, "--k", "10,20", "--mask", "train+valid")
    assert masked["ndcg@20"] != first["ndcg@20"]
    assert noted(run, "valid") == valid
    at_5 = {name: value for name, value in first.items() if name.endswith("@5")}
    assert noted(run, "test") == at_5 | masked
    measured = read_evaluations(run).splits["test"]
    assert [measured[k].mask for k in (5, 10, 20)] == ["train", "train+valid", "train+valid"]
    # The run itself is as it was, and checks its files as before.
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before | {
        "evaluation.json": (run / "evaluation.json").read_bytes()
    }
    assert cli("recommend", "--run", run, "--user", "user-0001").code == 0
    RunDirectory.open(run).verified_path("weights.safetensors")


@pytest.mark.parametrize("text", ["", "{", '{"splits": 3}', '{"version": 2}', "[" * 5000])
def test_a_damaged_note_is_replaced_and_does_not_stop_the_list(cli, run, text):
    (run / "evaluation.json").write_text(text)
    with pytest.raises(RunError, match=r"evaluation\.json: is damaged"):
        read_evaluations(run)
    assert cli("runs").code == 0
    metrics = evaluate(cli, run, "--k", "20")
    assert noted(run, "test") == metrics


def test_runs_are_listed_with_their_metrics(cli, run, workspace, tmp_path):
    metrics = evaluate(cli, run, "--k", "20")
    assert cli("train", "--data", workspace.data, "--model", "ease").code == 0
    assert cli("refit", "--run", run, "--out", "runs/served", "--device", "cpu").code == 0
    shutil.copytree(run, tmp_path / "runs" / "killed")
    edit_manifest(tmp_path / "runs" / "killed", lambda values: values.update(status="running"))
    shutil.copytree(run, tmp_path / "runs" / "broken")
    (tmp_path / "runs" / "broken" / "manifest.json").write_text("{}")
    (tmp_path / "runs" / "no-run").mkdir()
    found = [json.loads(line) for line in cli("runs", "--format", "json").out.splitlines()]
    by_name = {Path(one["run"]).name: one for one in found}
    assert len(found) == 5
    assert [one["status"] for one in found][-1] == "damaged"
    started = [one["started"] for one in found[:-1]]
    assert started == sorted(started, reverse=True)
    first = by_name["first"]
    assert first["test"] == pytest.approx(metrics)
    assert (first["model"], first["status"]) == ("ld4mrec", "complete")
    assert by_name["killed"]["status"] == "interrupted"
    assert by_name["served"]["refit_of"] == str(run)
    assert [one["is_latest"] for one in found[:-1]].count(True) == 1
    table = cli("runs").out
    assert f"{metrics['ndcg@20']:.4f}" in table
    assert f"{first['best']['valid']['ndcg@20']:.4f}" in table
    rows = {line.split()[0]: line.split() for line in table.splitlines()[1:]}
    assert rows["served"][:5] == ["served", "*", "data", "ld4mrec", "refit"]
    assert rows["broken"][1] == "damaged"
    assert {name for name, row in rows.items() if row[1] == "*"} == {
        name for name, one in by_name.items() if one.get("is_latest")
    }
    (line,) = cli("runs", run, "--format", "json").out.splitlines()
    assert json.loads(line)["run"] == str(run)


def test_a_directory_without_runs(fails, tmp_path):
    assert "runs: no such directory" in fails("runs")
    (tmp_path / "runs").mkdir()
    assert "runs: holds no run" in fails("runs")


def test_a_run_that_cannot_be_written_is_evaluated(cli, run, monkeypatch):
    from ld4mrec_cli.runs import evaluations
    from ld4mrec_cli.utils.errors import OutputError

    def refuse(path, value):
        raise OutputError("cannot be written (Read-only file system)", where=path)

    monkeypatch.setattr(evaluations, "write_json", refuse)
    result = cli("evaluate", "--run", run, "--k", "20")
    assert result.code == 0
    assert "recall" in result.out
    assert "the metrics are not noted in the run" in result.err
    assert not (run / "evaluation.json").exists()
