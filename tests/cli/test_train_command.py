import json
import re
import signal
import time

import pytest
from cli_shell import TINY, shell

from ld4mrec_cli.runs.run_directory import RunDirectory


def metrics(path):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if "seconds" not in key}
        for line in lines
    ]


def test_run_directory_and_latest(cli, workspace, tmp_path):
    result = cli("train", "--data", workspace.data, *TINY)
    assert result.code == 0
    (path,) = [p for p in (tmp_path / "runs").iterdir() if p.name != "latest"]
    assert re.fullmatch(r"data-\d{8}-\d{6}", path.name)
    assert (tmp_path / "runs" / "latest").resolve() == path
    names = {
        "manifest.json",
        "config.yaml",
        "metrics.jsonl",
        "learning_curve.png",
        "weights.safetensors",
    }
    assert names <= {p.name for p in path.iterdir()}
    assert "checkpoint.safetensors" not in {p.name for p in path.iterdir()}
    assert "valid ndcg@20" in result.out


def test_flags_win_over_set_and_file(cli, workspace, tmp_path):
    (tmp_path / "c.yaml").write_text("training:\n  seed: 1\n  max_epochs: 1\n")
    cli(
        "train",
        "--config",
        "c.yaml",
        "--data",
        workspace.data,
        *TINY,
        "--set",
        "training.seed=2",
        "--seed",
        "3",
        "--run",
        "r",
    )
    config = RunDirectory.open(tmp_path / "r").config
    assert config.training.seed == 3
    assert config.training.max_epochs == 6


def test_same_seed_same_run(cli, workspace, tmp_path):
    for name in ("a", "b"):
        cli("train", "--data", workspace.data, *TINY, "--run", name)
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (
        tmp_path / "b" / "weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("model", ["popularity", "itemknn", "ease"])
def test_baselines_train_evaluate_and_recommend(cli, workspace, model):
    assert cli("train", "--data", workspace.data, "--model", model, "--run", "r").code == 0
    assert cli("evaluate", "--run", "r", "--format", "json").json["metrics"]["recall@20"] > 0
    assert (
        len(
            cli(
                "recommend", "--run", "r", "--user", "user-0001", "--k", "3", "--format", "json"
            ).json["items"]
        )
        == 3
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "no such dataset directory"),
        ([], "no dataset is named"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such configuration file"),
        (["--config", "broken.yaml"], "broken.yaml:2: not valid YAML"),
        (["--config", "typo.yaml"], "Did you mean 'hidden_dim'?"),
        (["--model", "svd"], "model_name"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--set", "training.metric=ndgc@20"], "training.metric"),
        (["--set", "nonsense"], "not of the form section.key=value"),
        (["--data", "DATA", "--set", "data.modalities=[imgae]"], "Did you mean 'image'?"),
        (["--data", "DATA", "--set", "model.guidance=[sound]"], "model.guidance names 'sound'"),
        (["--data", "DATA", "--run", "taken"], "--resume"),
        (["--resume"], "no unfinished run"),
        (["--resume", "--run", "nowhere"], "no such run directory"),
    ],
)
def test_bad_input_gives_one_line(fails, workspace, tmp_path, arguments, message):
    (tmp_path / "broken.yaml").write_text("model:\n  hidden_dim: 3: 4\n")
    (tmp_path / "typo.yaml").write_text("model:\n  hiden_dim: 3\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    arguments = [str(workspace.data) if argument == "DATA" else argument for argument in arguments]
    assert message in fails("train", *arguments)
    assert not (tmp_path / "runs").exists()
    assert [p.name for p in (tmp_path / "taken").iterdir()] == ["notes.txt"]


def test_cuda_without_a_device_is_refused(fails, workspace, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no usable CUDA device" in fails("train", "--data", workspace.data, "--device", "cuda")


def test_divergence_exits_1_and_keeps_the_best_weights(
    fails, cli, workspace, tmp_path, monkeypatch
):
    from ld4mrec_cli.training.trainer import Trainer

    original = Trainer._step

    def step(self, rows, generator):
        return float("nan") if self.progress.epoch == 3 else original(self, rows, generator)

    monkeypatch.setattr(Trainer, "_step", step)
    result = cli("train", "--data", workspace.data, *TINY, "--run", "r")
    assert result.code == 1
    assert "error: the loss became nan in epoch 4" in result.err
    assert RunDirectory.open(tmp_path / "r").manifest.status == "diverged"
    assert cli("evaluate", "--run", "r", "--format", "json").json["metrics"]["recall@20"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_run_resumes_to_the_same_result(cli, workspace, tmp_path, how):
    settings = [
        "--data",
        workspace.data,
        *TINY,
        "--set",
        "training.max_epochs=60",
        "--set",
        "training.patience=60",
    ]
    assert cli("train", *settings, "--run", "whole").code == 0
    process = shell("train", *settings, "--run", "cut", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while (
        not (tmp_path / "cut" / "checkpoint.safetensors").exists() and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how != signal.SIGKILL:
        assert process.returncode == 1
        assert "ld4mrec train --resume --run cut" in err
    assert RunDirectory.open(tmp_path / "cut").manifest.status in ("running", "interrupted")
    assert cli("train", "--resume", "--run", "cut").code == 0
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    whole, cut = (tmp_path / name / "weights.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


def test_resume_refuses_other_settings_and_finished_runs(
    fails, cli, workspace, tmp_path, monkeypatch
):
    from ld4mrec_cli.training.trainer import Trainer

    original = Trainer._train_epoch

    def epoch(self, on_batch):
        if self.progress.epoch == 2:
            raise KeyboardInterrupt
        return original(self, on_batch)

    monkeypatch.setattr(Trainer, "_train_epoch", epoch)
    result = cli("train", "--data", workspace.data, *TINY)
    assert result.code == 1
    assert "interrupted after epoch 2" in result.err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    message = fails("train", "--resume", "--set", "training.learning_rate=0.1")
    assert "training.learning_rate was 0.002 in this run and is 0.1 now" in message
    assert cli("train", "--resume", "--set", "training.max_epochs=4").code == 0
    assert "no unfinished run" in fails("train", "--resume")
    assert "complete" in fails("train", "--resume", "--run", "runs/latest")
