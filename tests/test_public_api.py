"""The Python API: the session of docs/api.md runs, and gives what the commands give."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ld4mrec_cli
from ld4mrec_cli.cli.app import run as run_command
from ld4mrec_cli.config import load_config
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic
from ld4mrec_cli.utils.errors import ConfigError, OutputError, UnknownIdError, UserError

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The names of the session in docs/api.md, after it ran in a directory with raw files."""
    directory = tmp_path_factory.mktemp("session")
    (directory / "raw").mkdir()
    size = SyntheticSize(users=90, items=50, interactions_per_user=9, image_dim=8)
    write_synthetic(directory / "raw", seed=1, size=size)
    names: dict[str, object] = {"__name__": "session"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for block in BLOCK.findall((ROOT / "docs" / "api.md").read_text()):
            exec(compile(block, "docs/api.md", "exec"), names)
        yield names


def test_the_session_trains_and_recommends(session):
    assert len(session["losses"]) == session["ld4mrec"].manifest.epochs == 3
    assert session["ld4mrec"].config.model.hidden_dim == 32
    assert session["ease"].manifest.model == "ease"
    assert len(session["lists"]) == session["dataset"].shape[0]
    assert session["again"] == session["recommender"].recommend(user=session["user"], k=5)
    assert not set(session["history"]) & {entry.item for entry in session["new_user"].items}
    assert session["train_matrix"].shape == session["dataset"].shape


def test_the_session_adds_a_new_item(session):
    assert session["extended"].n_items == session["dataset"].shape[1] + 1
    title = session["dataset"].titles[0].split()[0]
    assert session["like_new"].items[0].title.startswith(title)


def test_the_session_explains(session):
    explained = session["explained"]
    assert [e.item for e in explained.items] == [e.item for e in session["again"].items]
    recommender = session["recommender"]
    own = recommender.known[recommender.users.index(session["user"])].indices
    history = {recommender.items[item] for item in own}
    for entry in explained.items:
        assert len(entry.reasons) == 2
        assert {reason.item for reason in entry.reasons} <= history


def test_the_session_finds_similar_items(session):
    similar, each = session["similar"], session["similar_to"]
    assert len(similar.items) == 5
    assert similar.item not in {entry.item for entry in similar.items}
    assert list(each) == session["recommender"].items.ids
    assert [e.item for e in each[similar.item]] == [e.item for e in similar.items]


def test_the_session_filters_and_refits(session):
    recommender, user = session["recommender"], session["user"]
    entries = {entry.item for entry in session["filtered"].items}
    in_stock = session["in_stock"]
    assert entries
    assert entries <= set(in_stock[2:])
    assert [ranked.user for ranked in session["many"]] == ["new-customer", user]
    (ranked,) = session["ranked_pairs"]
    assert {entry.item for entry in ranked.items} == set(recommender.items.ids[3:5])
    assert session["served"].manifest.refit_of.run == str(session["ease"].path.resolve())
    own = recommender.known[recommender.users.index(user)].indices
    listed = {entry.item for entry in session["served_lists"][0].items}
    assert listed
    assert not listed & {recommender.items[item] for item in own}


def test_evaluate_gives_what_the_command_gives(session, capsys):
    assert run_command(["evaluate", "--run", "runs/ease", "--k", "10,20", "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)["metrics"]
    assert ld4mrec_cli.evaluate("runs/ease", k=[20, 10]) == pytest.approx(printed, abs=1e-12)


def test_the_recommender_gives_what_the_command_gives(session, capsys):
    user = session["user"]
    command = ["recommend", "--run", "runs/ld4mrec", "--user", user, "--k", "5", "--format", "json"]
    assert run_command(command) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert [entry["item"] for entry in items] == [entry.item for entry in session["again"].items]


def test_arguments_go_on_top_of_a_configuration(session):
    config = load_config(flags={"ease.ridge": 7.0, "training.seed": 3})
    run = ld4mrec_cli.train("data/shop", "ease", config=config, seed=4, run="runs/top")
    assert (run.config.ease.ridge, run.config.training.seed) == (7.0, 4)


def test_a_table_is_prepared_by_its_own_name(session):
    dataset = ld4mrec_cli.prepare("raw/interactions.csv", k_core=0)
    assert dataset.directory == Path("data/interactions")
    assert dataset.shape >= session["dataset"].shape


def test_wrong_input_is_a_user_error(session):
    with pytest.raises(ConfigError, match="k_cor"):
        ld4mrec_cli.prepare("raw", "data/other", k_cor=5)
    with pytest.raises(OutputError, match="exists"):
        ld4mrec_cli.prepare("raw", "data/shop")
    with pytest.raises(ConfigError, match=r"unknown key 'training\.max_epoch'"):
        ld4mrec_cli.train("data/shop", settings={"training.max_epoch": 5})
    with pytest.raises(ConfigError, match="train"):
        ld4mrec_cli.evaluate("runs/ease", split="train")
    with pytest.raises(UnknownIdError, match="stranger"):
        session["recommender"].recommend(user="stranger")
    with pytest.raises(UserError, match="either a user or a history"):
        session["recommender"].recommend()


def test_the_names_are_lazy_and_complete():
    code = "import sys, ld4mrec_cli; print('torch' in sys.modules, dir(ld4mrec_cli))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("False ")
    assert all(name in result.stdout for name in ld4mrec_cli.__all__)
    assert all(getattr(ld4mrec_cli, name) for name in ld4mrec_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ld4mrec_cli.nothing


def test_the_readme_uses_names_of_the_api():
    (block,) = BLOCK.findall((ROOT / "README.md").read_text())
    imports = [node for node in ast.parse(block).body if isinstance(node, ast.ImportFrom)]
    assert {alias.name for node in imports for alias in node.names} <= set(ld4mrec_cli.__all__)
