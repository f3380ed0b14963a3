"""Several processes, started by torchrun, do what one does; through the real entry point."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import pytest
from cli_shell import TINY
from safetensors.torch import load_file

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.training.trainer import Trainer

pytestmark = pytest.mark.slow

BASE = [
    *TINY,
    "--set",
    "training.max_epochs=3",
    "--set",
    "training.batch_size=50",
    "--device",
    "cpu",
]
PAPER = [
    "--set",
    "preset=paper",
    "--set",
    "diffusion.noise_scale=0.5",
    "--set",
    "training.batch_size=37",
]
SAMPLED = ["--set", "training.sampled_items=12", "--set", "training.grad_clip=0.5"]


def torchrun(*arguments, cwd, processes=2):
    """Run a command in several processes on this machine, and return their joint result."""
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
    ]
    command = [*launcher, "-m", "ld4mrec_cli", "--", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def history(path):
    lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in lines]


@pytest.mark.parametrize(
    ("settings", "processes"),
    [([], 2), (PAPER, 2), (SAMPLED, 3)],
    ids=["default", "paper", "sampled"],
)
def test_two_processes_train_what_one_does(workspace, tmp_path, settings, processes):
    """The last batch of `paper` is one row of the 112, so that a process has none to do."""
    arguments = ["train", "--data", workspace.data, *BASE, *settings]
    alone = tmp_path / "alone"
    assert run([str(a) for a in [*arguments, "--run", alone]]) == 0
    result = torchrun(*arguments, "--run", "together", cwd=tmp_path, processes=processes)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("run written to together") == 1
    expected, actual = history(alone), history(tmp_path / "together")
    assert len(expected) == len(actual) == 3
    for one, other in zip(expected, actual, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert other["valid"] == pytest.approx(one["valid"], abs=0.01)
    ours, theirs = (
        load_file(path / "weights.safetensors") for path in (alone, tmp_path / "together")
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert (tensor - theirs[name]).abs().max() < 0.02 * tensor.abs().max().clamp_min(0.05), name


def test_two_processes_evaluate_and_recommend_what_one_does(workspace, tmp_path, capsys):
    assert run(["evaluate", "--run", str(workspace.run), "--format", "json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    result = torchrun("evaluate", "--run", workspace.run, "--format", "json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["metrics"] == pytest.approx(expected["metrics"])
    arguments = ["recommend", "--run", workspace.run, "--all", "--k", 5, "--reasons", 2, "--out"]
    assert run([str(a) for a in [*arguments, tmp_path / "alone.csv"]]) == 0
    assert torchrun(*arguments, "together.csv", cwd=tmp_path).returncode == 0
    rows = [
        list(csv.DictReader((tmp_path / name).read_text(encoding="utf-8").splitlines()))
        for name in ("alone.csv", "together.csv")
    ]
    names = [[(row["user"], row["item"], row["reasons"]) for row in lines] for lines in rows]
    assert names[0] == names[1]
    assert all("," in reasons for _, _, reasons in names[0])


def test_two_processes_resume_what_one_began(workspace, tmp_path, monkeypatch):
    arguments = ["train", "--data", workspace.data, *BASE, "--run"]
    assert run([str(a) for a in [*arguments, tmp_path / "whole"]]) == 0
    plain = Trainer._train_epoch

    def interrupted(self, on_batch):
        if self.progress.epoch == 1:
            raise KeyboardInterrupt
        return plain(self, on_batch)

    monkeypatch.setattr(Trainer, "_train_epoch", interrupted)
    assert run([str(a) for a in [*arguments, tmp_path / "part"]]) == 1
    result = torchrun("train", "--resume", "--run", "part", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    expected, actual = history(tmp_path / "whole"), history(tmp_path / "part")
    assert actual[0] == expected[0]
    assert [line["loss"] for line in actual] == pytest.approx(
        [line["loss"] for line in expected], rel=1e-4
    )


def test_what_one_process_does_is_refused_under_torchrun(workspace, tmp_path):
    result = torchrun("train", "--data", workspace.data, "--model", "bpr", cwd=tmp_path)
    assert result.returncode == 1
    assert "bpr is trained by one process" in result.stderr
    result = torchrun("config", cwd=tmp_path)
    assert "`config` is done by one process" in result.stderr


def test_two_processes_start_from_a_run_as_one_does(workspace, tmp_path):
    arguments = ["train", "--data", workspace.data, *BASE, "--init", workspace.run, "--seed", "1"]
    assert run([str(a) for a in [*arguments, "--run", tmp_path / "alone"]]) == 0
    result = torchrun(*arguments, "--run", "together", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(f"started from {workspace.run}") == 1
    expected, actual = history(tmp_path / "alone"), history(tmp_path / "together")
    assert [line["loss"] for line in actual] == pytest.approx(
        [line["loss"] for line in expected], rel=1e-4
    )
