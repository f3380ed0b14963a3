"""`ld4mrec study` through the real entry point: each study, bad arguments, and a power cut."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import signal
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from cli_shell import TINY, shell

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.cli.study import NAMES
from ld4mrec_cli.experiments.study import execute
from ld4mrec_cli.experiments.study.studies import STUDIES
from ld4mrec_cli.experiments.subprocess_training import TrainingFailed
from ld4mrec_cli.runs.run_directory import MANIFEST

ONE_MODALITY = ["--set", "data.modalities=[image]"]
STUDIED = {
    "ablation": ["--models", "ease", "--vary", "ease.ridge=5,50"],
    "cold-start": ["--models", "ease,freedom"],
    "generative": ["--models", "ease,diffrec"],
    "inference": [],
    "modalities": ["--models", "ease", *ONE_MODALITY],
    "noise": ["--models", "ease,popularity", "--types", "drop", "--levels", "0.2,0.4"],
}
"""Arguments of each study that make it short."""
FILES = {"study.html", "study.md", "study.json", "configs", "runs", "evaluations"}


@pytest.fixture
def in_this_process(monkeypatch):
    """Trainings take no process of their own: most of their time is its start."""

    def train(arguments, log):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            code = run(["train", *arguments])
        if code:
            raise TrainingFailed(said.getvalue().splitlines()[-1])

    monkeypatch.setattr(execute, "carry_out", functools.partial(execute.carry_out, train=train))


def test_the_names_are_those_of_the_table():
    assert sorted(STUDIES) == list(NAMES) == sorted(STUDIED)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_study_writes_its_report(cli, in_this_process, workspace, tmp_path, name):
    short = [*TINY, "--set", "training.max_epochs=2", "--device", "cpu"]
    arguments = [name, "--data", workspace.data, *STUDIED[name], *short]
    result = cli("study", *arguments, "--seeds", "0,1", "--out", "s", "--format", "json")
    assert result.code == 0, result.err
    assert result.json == json.loads((tmp_path / "s/study.json").read_text())
    assert (result.json["study"], result.json["status"]) == (name, "complete")
    assert not result.json["failures"]
    assert {path.name for path in (tmp_path / "s").iterdir()} >= FILES
    page, text = ((tmp_path / "s" / f"study.{kind}").read_text() for kind in ("html", "md"))
    answer = result.json["answer"]
    assert answer[1:] in text
    assert "nothing to compare" not in answer
    n_pictures = len(list((tmp_path / "s").glob("study-*.png")))
    assert page.count("<img") == page.count('src="data:image/svg+xml;base64,') == n_pictures > 0
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|<script|@import', page)
    assert f"ld4mrec study {name}" in page
    again = cli("study", *arguments, "--seeds", "0,1", "--out", "s", "--format", "markdown")
    assert again.out == text == (tmp_path / "s/study.md").read_text()


@pytest.mark.slow
def test_quick_studies_take_two_seeds_and_few_epochs(cli, in_this_process, workspace, tmp_path):
    arguments = ["--data", workspace.data, "--models", "multvae,popularity", "--device", "cpu"]
    result = cli("study", "generative", *arguments, "--quick", "--out", "s")
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "report written to s/study.html"
    found = json.loads((tmp_path / "s/study.json").read_text())
    assert found["seeds"] == [0, 1]
    assert len((tmp_path / "s/runs/multvae-seed0/metrics.jsonl").read_text().splitlines()) <= 8
    assert not (tmp_path / "s/runs/popularity-seed1").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablatoin", "DATA"], "unknown study 'ablatoin'. Did you mean 'ablation'?"),
        (["ablation"], "no dataset is named"),
        (["ablation", "--data", "nowhere"], "no such dataset directory"),
        (["ablation", "DATA", "--models", "eas"], "unknown model 'eas'. Did you mean 'ease'?"),
        (["ablation", "DATA", "--config", "none.yaml"], "none.yaml"),
        (["ablation", "DATA", "--cross"], "--cross combines settings"),
        (["ablation", "DATA", "--vary", "model.hidden_dim"], "--vary"),
        (["ablation", "DATA", "--vary", "model.hiden_dim=8"], "Did you mean 'hidden_dim'?"),
        (["cold-start", "DATA", "--vary", "a.b=1"], "study cold-start has no --vary"),
        (["generative", "DATA", "--levels", "0.1"], "study generative has no --levels"),
        (["inference", "DATA", "--models", "ease"], "'ease' has no steps to choose"),
        (["modalities", "DATA", "--models", "bpr"], "bpr reads no features"),
        (["noise", "DATA", "--types", "rando"], "unknown noise type 'rando'"),
        (["noise", "DATA", "--levels", "0.1,x"], "--levels '0.1,x' is not a list of numbers"),
        (["noise", "DATA", "--levels", "2"], "--levels 2 is not between 0 and 1"),
        (["cold-start", "DATA", "--seeds", "0,0"], "--seeds names 0 twice"),
        (["cold-start", "DATA", "--k", "0"], "--k 0 is below 1"),
        (["generative", "DATA", "--metric", "ndgc@20"], "unknown metric 'ndgc@20'"),
        (["generative", "DATA", "--device", "gpu"], "unknown device 'gpu'"),
        (["generative", "DATA", "--set", "training.seed=3"], "--seeds"),
        (["generative", "DATA", "--out", "taken"], "was not written by ld4mrec"),
        (["generative", "DATA", "--out", "."], "is the working directory"),
    ],
)
def test_bad_input_gives_one_line_and_writes_nothing(
    fails, workspace, tmp_path, arguments, message
):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    given = []
    for one in arguments:
        given += ["--data", workspace.data] if one == "DATA" else [one]
    assert message in fails("study", *given)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "notes.txt"]


def test_help_names_every_study(cli):
    text = " ".join(cli("study", "--help").out.split())
    for name in NAMES:
        assert name in text


@pytest.mark.slow
def test_a_study_without_a_training_that_works_exits_1(cli, in_this_process, workspace):
    broken = ["--models", "ease", "--set", "data.modalities=[sound]", "--vary", "ease.ridge=5"]
    result = cli("study", "ablation", "--data", workspace.data, *broken, "--out", "s")
    assert result.code == 1
    assert "has no modality 'sound'" in result.out
    assert "no training worked" in result.err.splitlines()[-1]


MOMENTS = (f"runs/popularity-seed0/{MANIFEST}", "data/drop-30-seed0/schema.json")
"""What is there when the power is cut, one after the other."""


@pytest.mark.slow
@pytest.mark.pictures
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_study_killed_at_any_moment_goes_on_to_the_same_report(
    cli, in_this_process, workspace, tmp_path, monkeypatch
):
    command = ["study", "noise", "--data", workspace.data, "--models", "popularity"]
    command += ["--types", "drop", "--levels", "0.3", "--seeds", "0", "--device", "cpu"]
    command += ["--out", "s"]
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    for place in (cut, whole):
        place.mkdir()
    for moment in MOMENTS:
        process = shell(*command, cwd=cut)
        deadline = time.monotonic() + 60
        while not (cut / "s" / moment).exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        kill_with_children(process.pid)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert not (cut / "s" / "study.md").exists()
    for place in (cut, whole):
        monkeypatch.chdir(place)
        result = cli(*command)
        assert result.code == 0, result.err
    for name in ("study.md", "study.html", "study-1.png"):
        assert report(cut / "s" / name) == report(whole / "s" / name), name
    found = [json.loads((place / "s/study.json").read_text()) for place in (cut, whole)]
    assert found[0]["losses"] == found[1]["losses"]


def kill_with_children(pid):
    """What a power cut does to a process and the training that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, children)):
        os.kill(one, signal.SIGKILL)
    for one in map(int, children):
        while Path(f"/proc/{one}").exists() and "Z" not in state_of(one):
            time.sleep(0.002)


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def report(path):
    """Bytes of a file of the report, without the time when the study was begun."""
    return re.sub(rb"begun [\dT:+-]+", b"begun", path.read_bytes())
