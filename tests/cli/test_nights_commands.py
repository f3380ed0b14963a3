"""`train --init` and `evaluate --data NEWER`: through the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from cli_shell import TINY


@pytest.fixture(scope="module")
def days(workspace, tmp_path_factory):
    """Today has more users and items than the workspace's data, and a split in time."""
    from ld4mrec_cli.cli.app import run

    root = tmp_path_factory.mktemp("days")
    table = pl.read_csv(workspace.raw / "interactions.csv").sort("timestamp")
    new = pl.col("user").is_in(["user-0002", "user-0003"]) | (pl.col("item") == "item-0004")
    for name, rows in (("yesterday", table.head(800).filter(~new)), ("today", table)):
        raw = root / f"raw-{name}"
        shutil.copytree(workspace.raw, raw)
        rows.write_csv(raw / "interactions.csv")
        prepare = ["prepare", "--raw", str(raw), "--split", "global-time", "--k-core", "0"]
        assert run([*prepare, "--out", str(root / name)]) == 0
    arguments = ["train", "--data", str(root / "yesterday"), "--device", "cpu", *TINY]
    assert run([*arguments, "--run", str(root / "old")]) == 0
    return root


def test_a_night_starts_from_the_one_before(cli, fails, days):
    started = cli("train", "--data", days / "today", "--init", days / "old", "--run", "new", *TINY)
    assert started.code == 0, started.err
    old = json.loads((days / "old" / "manifest.json").read_text())["dataset"]
    said = f"it has {old['n_users']} of "
    assert f"started from {days / 'old'}: {said}" in started.out
    listed = cli("runs", "new", "--format", "json").json
    assert listed["init_from"] == str(days / "old")
    again = fails("train", "--resume", "--run", "new", "--init", days / "old")
    assert "there is nothing to resume" in again
    assert cli("refit", "--run", "new", "--out", "served").code == 0
    assert cli("recommend", "--run", "served", "--all", "--k", "3").code == 0


def test_a_night_starts_from_a_run_with_added_items(cli, days):
    """They have no weights yet, and start anew."""
    rows = "item,title\nitem-0004,Tea leaf kettle no. 5\nnever-seen,Tea cup steam no. 6\n"
    Path("new.csv").write_text(rows)
    added = cli("add-items", "--run", days / "old", "--items", "new.csv", "--out", "extended")
    assert added.code == 0, added.err
    runs = []
    for start in (days / "old", "extended"):
        arguments = ("--init", start, "--run", f"from-{Path(start).name}", *TINY)
        assert cli("train", "--data", days / "today", *arguments).code == 0
        runs.append(json.loads(Path(arguments[3], "manifest.json").read_text()))
    assert runs[0]["init_from"]["items"] == runs[1]["init_from"]["items"]
    assert runs[0]["files"] == runs[1]["files"]


def test_what_does_not_fit_is_one_line(fails, days, tmp_path):
    arguments = ("train", "--data", days / "today", "--init", days / "old", "--run", "new")
    assert "model.hidden_dim is 16 there and 256 here" in fails(*arguments)
    assert "is a run of ld4mrec, not of bpr" in fails(*arguments, "--model", "bpr")
    assert "ease is solved at once" in fails(*arguments, "--model", "ease")
    assert "no such run directory" in fails(*arguments[:4], "nowhere")
    assert not list(tmp_path.iterdir())


def test_a_run_is_evaluated_on_todays_data(cli, fails, days):
    arguments = ("evaluate", "--run", days / "old", "--data", days / "today", "--k", "10")
    error = fails(*arguments)
    assert "does not know" in error
    assert "--on-unknown skip leaves them out" in error
    done = cli(*arguments, "--on-unknown", "skip", "--format", "json", "--lists", "lists.csv")
    assert done.code == 0
    assert "left out: " in done.err
    metrics = done.json["metrics"]
    listed = cli("runs", days / "old", "--format", "json").json
    assert listed["newer_test"] == metrics
    assert listed["test"] == {}
    lists = pl.read_csv("lists.csv", glob=False)
    assert lists["user"].n_unique() == done.json["n_users"]
    assert "--on-unknown is for newer data" in fails("evaluate", "--on-unknown", "skip")
