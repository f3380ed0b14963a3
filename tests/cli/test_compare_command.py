import json
import signal
import time

import pytest
from cli_shell import TINY, shell

from ld4mrec_cli.runs.run_directory import RunDirectory

SMALL = """
model: {hidden_dim: 16, collaborative_rank: 8}
training: {max_epochs: 3, device: cpu}
"""


@pytest.fixture
def small(tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    return "small.yaml"


@pytest.mark.slow
def test_the_figures_are_those_of_evaluate_for_the_same_runs(cli, workspace, small, tmp_path):
    arguments = [
        "--data",
        workspace.data,
        "--config",
        small,
        "--model",
        "ease",
        "--seeds",
        "2",
        "--out",
        "c",
    ]
    result = cli("compare", *arguments, "--format", "json")
    assert result.code == 0
    assert result.json == json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert [one["label"] for one in result.json["systems"]] == ["ld4mrec", "ease"]
    for one in result.json["systems"]:
        (run,) = one["runs"]
        evaluated = cli("evaluate", "--run", f"c/{run['path']}", "--format", "json").json
        assert run["metrics"] == evaluated["metrics"]
        assert (result.json["mask"], result.json["n_users"]) == (
            evaluated["mask"],
            evaluated["n_users"],
        )
        manifest = RunDirectory.open(tmp_path / "c" / run["path"]).manifest
        assert (run["training_seconds"], run["peak_memory_mb"]) == (
            manifest.seconds,
            manifest.peak_memory_mb,
        )
    assert {"comparison.md", "comparison.png"} <= {path.name for path in (tmp_path / "c").iterdir()}
    assert "ld4mrec seed 2: epoch    1" in result.err
    assert "ease: fitting ease" in result.err
    assert "comparison written to c" in result.err


@pytest.mark.slow
def test_table_and_markdown_of_finished_runs(cli, workspace, tmp_path):
    arguments = [
        "--data",
        workspace.data,
        "--model",
        "ease",
        "--model",
        "popularity",
        "--k",
        "5",
        "--metric",
        "recall@5",
    ]
    table = cli("compare", *arguments)
    assert table.code == 0
    assert "recall@5: ease" in table.out
    (place,) = (tmp_path / "runs").iterdir()
    assert place.name.startswith("compare-data-")
    assert table.out.splitlines()[-1] == f"comparison written to runs/{place.name}"
    markdown = cli(
        "compare", *arguments, "--out", place, "--format", "markdown", "--split", "valid"
    )
    assert "ease: trained already" in markdown.err
    assert markdown.out == (place / "comparison.md").read_text()
    assert "valid split" in markdown.out
    assert "ndcg@5" in markdown.out


@pytest.mark.slow
def test_too_few_that_work_are_shown_and_exit_1(cli, workspace, tmp_path):
    (tmp_path / "deaf.yaml").write_text("data: {modalities: [sound]}\n")
    arguments = [
        "--data",
        workspace.data,
        "--config",
        "deaf.yaml",
        "--model",
        "popularity",
        "--seeds",
        "0",
    ]
    result = cli("compare", *arguments, "--out", "c")
    assert result.code == 1
    assert "ld4mrec failed with seed 0: " in result.out
    assert "has no modality 'sound'" in result.out
    assert "error: c: nothing to compare: 1 of 2 systems worked" in result.err
    assert cli("compare", *arguments, "--model", "itemknn", "--out", "c").code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs two systems, and none is named"),
        (["--model", "ease"], "needs two systems"),
        (["--model", "ease", "--model", "eas"], "unknown model 'eas'. Did you mean 'ease'?"),
        (["--model", "ease", "--model", "popularity"], "no dataset is named"),
        (
            ["--model", "ease", "--model", "popularity", "--data", "nowhere"],
            "no such dataset directory",
        ),
        (["TWO", "--seeds", "0,x"], "--seeds '0,x' is not a list of whole numbers"),
        (["TWO", "--seeds", "0,0"], "--seeds names 0 twice"),
        (["TWO", "--seeds", "-1"], "--seeds -1 is not between"),
        (["TWO", "--k", "0"], "--k 0 is below 1"),
        (["TWO", "--metric", "ndgc@20"], "unknown metric 'ndgc@20'"),
        (["TWO", "--device", "gpu"], "unknown device 'gpu'"),
        (["TWO", "--set", "training.seed=3"], "--seeds"),
        (["TWO", "--set", "training.paitence=3"], "Did you mean 'patience'?"),
        (["TWO", "--out", "taken"], "was not written by ld4mrec"),
        (["TWO", "--out", "notes.txt"], "is not a directory"),
        (["TWO", "--out", "."], "is the working directory"),
    ],
)
def test_bad_input_gives_one_line_and_writes_nothing(
    fails, workspace, tmp_path, arguments, message
):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    if arguments[:1] == ["TWO"]:
        arguments = [
            "--model",
            "ease",
            "--model",
            "popularity",
            "--data",
            workspace.data,
            *arguments[1:],
        ]
    assert message in fails("compare", *arguments)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "notes.txt",
        "taken",
        "taken/notes.txt",
    ]


def test_help_has_an_example(cli):
    assert "Example: ld4mrec compare" in " ".join(cli("compare", "--help").out.split())


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_comparison_ends_its_training_and_goes_on(cli, workspace, tmp_path, how):
    longer = ["--set", "training.max_epochs=60", "--set", "training.patience=60"]
    arguments = [
        "--data",
        workspace.data,
        "--model",
        "ld4mrec",
        "--model",
        "popularity",
        "--seeds",
        "0",
        *TINY,
        *longer,
    ]
    process = shell("compare", *arguments, "--device", "cpu", "--out", "c", cwd=tmp_path)
    run = tmp_path / "c" / "runs" / "ld4mrec-seed0"
    deadline = time.monotonic() + 60
    while not (run / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (
        err.splitlines()[-1] == "error: interrupted. Continue it with the same command and --out c"
    )
    opened = RunDirectory.open(run)
    assert opened.manifest.status == "interrupted"
    assert not opened.is_locked()
    # In processes of their own, so that the number of threads is that of the first attempt.
    again = shell(
        "compare", *arguments, "--device", "cpu", "--out", "c", "--format", "json", cwd=tmp_path
    )
    again.communicate(timeout=120)
    alone = shell(
        "train",
        "--data",
        workspace.data,
        "--device",
        "cpu",
        *TINY,
        *longer,
        "--run",
        "whole",
        cwd=tmp_path,
    )
    alone.communicate(timeout=120)
    assert (again.returncode, alone.returncode) == (0, 0)
    whole = RunDirectory.open(tmp_path / "whole").manifest
    assert (
        RunDirectory.open(run).manifest.files["weights.safetensors"]
        == whole.files["weights.safetensors"]
    )
