import json
import signal
import time

import pytest
import yaml
from cli_shell import TINY, shell

from ld4mrec_cli.config import load_config
from ld4mrec_cli.runs.run_directory import RunDirectory

SPACE = "ease.ridge: {low: 0.1, high: 1e4, log: true}\n"
NETWORK = (
    "training.learning_rate: {low: 1e-3, high: 1e-1, log: true}\n"
    "model.dropout: {low: 0.2, high: 0.8, step: 0.1}\n"
)


@pytest.fixture
def ease(cli, workspace, tmp_path):
    """Search over EASE's ridge from a bad one; takes what else is on the command line."""
    (tmp_path / "space.yaml").write_text(SPACE)
    start = ["--data", workspace.data, "--model", "ease", "--set", "ease.ridge=0.2"]
    return lambda *arguments: cli("tune", *start, "--space", "space.yaml", *arguments)


def trials(path):
    found = [json.loads(line) for line in (path / "trials.jsonl").read_text().splitlines()]
    return [{key: value for key, value in trial.items() if key != "seconds"} for trial in found]


def test_the_best_config_trains_to_the_value_that_was_found(ease, cli, tmp_path):
    result = ease("--trials", 12, "--out", "s", "--format", "json")
    assert result.code == 0, result.err
    found = result.json
    best, start = (found[name]["valid"]["ndcg@20"] for name in ("best", "start"))
    assert best > start
    assert len(found["trials"]) == 12
    assert cli("train", "--config", found["config"], "--run", "again").code == 0
    assert RunDirectory.open(tmp_path / "again").manifest.best.value == best
    assert cli("evaluate", "--run", found["run"], "--format", "json").json["metrics"]["ndcg@20"] > 0
    assert result.err.splitlines()[0].startswith("trial   0  valid ndcg@20 ")
    assert len(result.err.splitlines()) == 12


def test_the_table_ends_with_the_command_that_trains_the_best(ease, tmp_path):
    result = ease("--trials", 3)
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name.startswith("tune-ease-data-")
    lines = result.out.splitlines()
    assert lines[0] == "ease on data: the best of 3 trials, by validation"
    assert "trial 0 (start)" in lines[1]
    assert (
        next(line for line in lines if line.startswith("ease.ridge")).split()[1:].count("0.2") == 1
    )
    assert lines[-1] == f"ld4mrec train --config runs/{path.name}/best.yaml"
    assert load_config(path / "best.yaml").model_name == "ease"


def test_a_search_is_continued_by_its_directory_alone(ease, cli, tmp_path):
    ease("--trials", 4, "--out", "whole", "--seed", 5)
    ease("--trials", 2, "--out", "s", "--seed", 5)
    assert cli("tune", "--out", "s", "--trials", 4).code == 0
    assert trials(tmp_path / "s") == trials(tmp_path / "whole")
    again = cli("tune", "--out", "s", "--format", "json")
    assert (again.code, len(again.json["trials"]), again.err) == (0, 4, "")


def test_pruning_is_on_unless_switched_off_and_stays_so(ease, cli, tmp_path):
    def is_on(name):
        return json.loads((tmp_path / name / "search.json").read_text())["budget"]["prune"]

    assert (
        ease("--trials", 1, "--out", "on").code
        == ease("--trials", 1, "--out", "off", "--no-prune").code
        == 0
    )
    assert (is_on("on"), is_on("off")) == (True, False)
    assert cli("tune", "--out", "off", "--trials", 2).code == 0
    assert not is_on("off")
    assert cli("tune", "--out", "off", "--prune").code == 0
    assert is_on("off")
    assert json.loads((tmp_path / "off" / "search.json").read_text())["budget"]["trials"] == 2


def test_a_budget_in_minutes_has_no_bound_on_the_trials(ease):
    assert len(ease("--minutes", 0.01, "--format", "json").json["trials"]) > 1


def test_the_printed_space_is_the_one_that_is_searched(cli, workspace, tmp_path):
    printed = cli("tune", "--model", "ease", "--print-space")
    assert (printed.code, printed.err) == (0, "")
    (tmp_path / "own.yaml").write_text(printed.out)
    common = ["tune", "--data", workspace.data, "--model", "ease", "--trials", 2]
    assert (
        cli(*common, "--out", "a").code
        == cli(*common, "--out", "b", "--space", "own.yaml").code
        == 0
    )
    assert trials(tmp_path / "a") == trials(tmp_path / "b")
    assert set(yaml.safe_load(printed.out)) == {*trials(tmp_path / "a")[0]["values"]}


def test_the_model_itself_is_searched_over_its_built_in_space(cli, workspace, tmp_path):
    result = cli(
        "tune", "--data", workspace.data, *TINY, "--trials", 2, "--out", "s", "--format", "json"
    )
    assert result.code == 0, result.err
    assert result.json["start"]["values"]["model.hidden_dim"] == 16
    assert result.json["start"]["epochs"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere: no such dataset directory"),
        ([], "no dataset is named"),
        (["--data", "DATA", "--model", "popularity"], "popularity has no settings"),
        (
            ["--data", "DATA", "--model", "popularity", "--space", "space.yaml"],
            "popularity has no settings",
        ),
        (["--data", "DATA", "--model", "svd"], "model_name"),
        (["--data", "DATA", "--space", "none.yaml"], "none.yaml: no such search space file"),
        (
            ["--data", "DATA", "--space", "typo.yaml"],
            "typo.yaml: unknown key 'model.dropot'. Did you mean",
        ),
        (["--space", "typo.yaml", "--print-space"], "typo.yaml: unknown key 'model.dropot'"),
        (["--data", "DATA", "--trials", "0"], "--trials"),
        (["--data", "DATA", "--minutes", "0"], "--minutes 0 is no time"),
        (["--data", "DATA", "--minutes", "nan"], "--minutes nan is no time"),
        (["--data", "DATA", "--device", "gpu"], "unknown device 'gpu'"),
        (["--data", "DATA", "--out", "taken"], "taken: exists and holds no search"),
        (["--data", "DATA", "--out", "space.yaml"], "space.yaml: cannot be written"),
        (["--data", "DATA", "--set", "model.guidance=[sound]"], "model.guidance names 'sound'"),
    ],
)
def test_bad_input_gives_one_line_and_writes_nothing(
    fails, workspace, tmp_path, arguments, message
):
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "typo.yaml").write_text("model.dropot: {low: 0.1, high: 0.5}\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    arguments = [str(workspace.data) if argument == "DATA" else argument for argument in arguments]
    assert message in fails("tune", *arguments)
    assert {path.name for path in tmp_path.iterdir()} - {"runs"} == {
        "space.yaml",
        "typo.yaml",
        "taken",
    }
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["notes.txt"]


def test_continuing_with_something_else_is_refused(ease, fails, tmp_path):
    assert ease("--trials", 1, "--out", "s").code == 0
    assert "training.seed was 0 and is 2 now" in fails("tune", "--out", "s", "--seed", 2)
    (tmp_path / "other.yaml").write_text("ease.ridge: {low: 1, high: 2}\n")
    assert "another space: ease.ridge was" in fails("tune", "--out", "s", "--space", "other.yaml")
    (tmp_path / "s" / "trials.jsonl").write_text("{}\n")
    assert "trials.jsonl:1: is no trial" in fails("tune", "--out", "s")


def test_a_search_without_a_result_exits_1(cli, workspace, tmp_path):
    (tmp_path / "space.yaml").write_text("training.learning_rate: {low: 1e29, high: 1e30}\n")
    settings = [
        "--data",
        workspace.data,
        *TINY,
        "--set",
        "training.learning_rate=1e30",
        "--space",
        "space.yaml",
    ]
    result = cli("tune", *settings, "--trials", 2)
    assert (result.code, result.out) == (1, "")
    assert "no trial of 2 gave a result; the last: " in result.err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_search_that_was_stopped_continues_to_the_same_result(cli, workspace, tmp_path, how):
    (tmp_path / "space.yaml").write_text(NETWORK)
    settings = [
        "--data",
        workspace.data,
        *TINY,
        "--set",
        "training.max_epochs=15",
        "--set",
        "training.patience=15",
    ]
    settings += ["--space", "space.yaml", "--trials", 3]
    assert cli("tune", *settings, "--out", "whole").code == 0
    process = shell("tune", *settings, "--out", "cut", cwd=tmp_path)
    deadline = time.monotonic() + 60
    while (
        not (tmp_path / "cut/trials/001/checkpoint.safetensors").exists()
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how != signal.SIGKILL:
        assert process.returncode == 1
        assert "continue with `ld4mrec tune --out cut`" in err
    assert len(trials(tmp_path / "cut")) == 1
    assert cli("tune", "--out", "cut").code == 0
    assert trials(tmp_path / "cut") == trials(tmp_path / "whole")
    texts = [(tmp_path / name / "best.yaml").read_text() for name in ("cut", "whole")]
    assert texts[0] == texts[1]
