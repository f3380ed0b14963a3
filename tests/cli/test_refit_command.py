"""`prepare --split none`, `refit`, `evaluate --lists`: through the command."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import SPLITS


@pytest.fixture
def ease(cli, workspace):
    result = cli("train", "--data", workspace.data, "--model", "ease", "--run", "ease")
    assert result.code == 0
    return "ease"


@pytest.mark.parametrize("model", ["ld4mrec", "ease"])
@pytest.mark.parametrize("split", ["test", "valid"])
def test_the_lists_of_evaluate_are_those_of_recommend_on_train(
    cli, workspace, ease, tmp_path, model, split
):
    run = ease if model == "ease" else workspace.run
    arguments = ("--run", run, "--split", split, "--k", "5,10", "--lists", "measured.csv")
    assert cli("evaluate", *arguments).code == 0
    measured = pl.read_csv(tmp_path / "measured.csv", glob=False)
    users = Dataset.open(workspace.data).interactions(split)["user"].unique()
    names = Dataset.open(workspace.data).users
    assert set(measured["user"]) == {names[user] for user in users}
    (tmp_path / "users.txt").write_text("\n".join(measured["user"].unique(maintain_order=True)))
    again = ("--users-file", "users.txt", "--splits", "train", "--k", "10", "--out", "again.csv")
    assert cli("recommend", "--run", run, *again).code == 0
    assert (tmp_path / "measured.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()


def test_the_lists_give_the_metrics(cli, workspace, tmp_path):
    arguments = ("--run", workspace.run, "--k", "10", "--format", "json", "--lists", "l.parquet")
    metrics = cli("evaluate", *arguments).json["metrics"]
    lists = pl.read_parquet(tmp_path / "l.parquet", glob=False)
    dataset = Dataset.open(workspace.data)
    targets = [
        (dataset.users[user], dataset.items[item])
        for user, item in dataset.interactions("test").select("user", "item").iter_rows()
    ]
    found = set(lists.select("user", "item").iter_rows())
    table = pl.DataFrame(
        {"user": [u for u, _ in targets], "hit": [float(pair in found) for pair in targets]}
    )
    recall = table.group_by("user").agg(pl.col("hit").mean())["hit"].mean()
    assert recall == pytest.approx(metrics["recall@10"], abs=1e-9)


@pytest.mark.parametrize("name", ["-", "lists.xls"])
def test_lists_need_a_file_of_a_known_format(fails, workspace, tmp_path, name):
    error = fails("evaluate", "--run", workspace.run, "--lists", name)
    assert "--lists needs a file" in error or "the suffix names no format" in error
    assert not list(tmp_path.iterdir())


def test_refit_serves_and_is_not_evaluated(cli, fails, workspace, ease):
    done = cli("refit", "--run", ease, "--out", "served")
    assert done.code == 0
    assert "every interaction, not validated" in done.out
    manifest = json.loads(Path("served/manifest.json").read_text())
    assert manifest["refit_of"]["run"].endswith("/ease")
    assert "it has seen the test split" in fails("evaluate", "--run", "served")
    lists = cli("recommend", "--run", "served", "--all", "--k", "5", "--format", "json").out
    dataset = Dataset.open(workspace.data)
    known = dataset.matrix(*SPLITS)
    for line in lists.splitlines():
        ranked = json.loads(line)
        own = known[dataset.users.index(ranked["user"])].indices
        assert not {dataset.items[i] for i in own} & {one["item"] for one in ranked["items"]}


def test_refit_refuses_what_it_cannot_do(fails, ease, tmp_path):
    assert "exists" in fails("refit", "--run", ease, "--out", ease)
    assert "no such dataset directory" in fails("refit", "--run", ease, "--data", "nowhere")
    assert "there is no last run" in fails("refit")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ease"]


def test_a_dataset_without_a_split(cli, fails, workspace, ease):
    result = cli("prepare", "--raw", workspace.raw, "--split", "none", "--out", "none")
    assert result.code == 0
    assert cli("inspect", "none").code == 0
    assert "Refit a run on it" in fails("train", "--data", "none", "--model", "ease")
    assert cli("refit", "--run", ease, "--data", "none", "--out", "served").code == 0
    assert cli("recommend", "--run", "served", "--user", "user-0001").code == 0
