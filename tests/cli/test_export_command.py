"""`export`, through the command: files, refusals, and the Python function."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import polars as pl
import pytest

import ld4mrec_cli
from ld4mrec_cli import Recommender
from ld4mrec_cli.cli.app import run

MODELS = ("ease", "itemknn", "bpr", "popularity", "diffrec")


@pytest.fixture(scope="module")
def runs(workspace, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for model in MODELS:
        command = ["train", "--data", str(workspace.data), "--model", model, "--device", "cpu"]
        short = ["--set", "training.max_epochs=2", "--set", "training.batch_size=64"]
        assert run([*command, *short, "--run", str(root / model)]) == 0
    (root / "ld4mrec").symlink_to(workspace.run)
    return root


def read(directory, name):
    return pl.read_parquet(directory / name, glob=False)


@pytest.mark.slow
def test_an_index_of_the_tables_gives_the_lists(cli, runs, tmp_path):
    result = cli("export", "--run", runs / "bpr", "--out", "x", "--format", "parquet")
    assert result.code == 0, result.err
    assert "score: user.vector · item.vector" in result.out
    users, items = read(tmp_path / "x", "users.parquet"), read(tmp_path / "x", "items.parquet")
    recommender = Recommender(runs / "bpr", "cpu")
    assert users["user"].to_list() == recommender.users.ids
    products = users["vector"].to_numpy() @ items["vector"].to_numpy().T
    for row, user in enumerate(recommender.users.ids[:20]):
        (listed,) = recommender.for_users([user], 5, include_seen=True)
        order = np.argsort(-products[row], kind="stable")[:5]
        assert [entry.item for entry in listed.items] == items["item"].gather(order).to_list()
        scores = [entry.score for entry in listed.items]
        np.testing.assert_allclose(products[row, order], scores, atol=1e-5)


@pytest.mark.slow
def test_the_report_says_what_was_exported(cli, runs, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    result = cli("export", "--run", runs / "ld4mrec", "--out", "x", "--neighbors", "999")
    assert result.code == 0, result.err
    report = json.loads((tmp_path / "x" / "export.json").read_text())
    assert (report["model"], report["splits"]) == ("ld4mrec", "all")
    assert report["is_exact"]
    assert report["max_difference"] < 1e-5
    assert report["onnx"]["max_difference"] < 1e-4
    assert report["onnx"]["outputs"] == {"scores": ["n", "n_items"]}
    assert "softmax" in report["score"]
    assert "a score is no single inner product" in result.err
    names = {"users.parquet", "items.parquet", "weights.parquet", "model.onnx"}
    assert set(report["files"]) == names
    for name in names:
        content = (tmp_path / "x" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == report["files"][name]
    manifest = json.loads((runs / "ld4mrec" / "manifest.json").read_text())
    assert report["run"]["weights_hash"] == manifest["files"]["weights.safetensors"]
    assert report["vectors"]["users.parquet"] == {
        "cnet": report["vectors"]["items.parquet"]["cnet"]
    }


@pytest.mark.slow
def test_cut_weights_are_said(cli, runs, tmp_path):
    result = cli("export", "--run", runs / "ease", "--out", "x", "--neighbors", "5")
    assert result.code == 0
    assert "smaller item-item weights are left out" in result.err
    report = json.loads((tmp_path / "x" / "export.json").read_text())
    assert not report["is_exact"]
    assert read(tmp_path / "x", "weights.parquet").group_by("history_item").len()["len"].max() == 5
    assert not (tmp_path / "x" / "users.parquet").exists()


@pytest.mark.slow
def test_histories_are_those_of_the_chosen_splits(cli, runs, tmp_path):
    for splits in ("all", "train"):
        arguments = ("--format", "parquet", "--splits", splits)
        assert cli("export", "--run", runs / "ld4mrec", "--out", splits, *arguments).code == 0
    of_all, of_train = (
        read(tmp_path / s, "users.parquet")["cnet"].to_numpy() for s in ("all", "train")
    )
    assert not np.allclose(of_all, of_train)


@pytest.mark.slow
def test_an_export_alone_is_replaced(cli, fails, runs, tmp_path):
    arguments = ("export", "--run", runs / "popularity", "--out", "x", "--format", "parquet")
    assert cli(*arguments).code == 0
    assert "exists" in fails(*arguments)
    assert cli(*arguments, "--overwrite").code == 0
    (tmp_path / "x" / "mine.txt").write_text("mine")
    assert "was not written by ld4mrec" in fails(*arguments, "--overwrite")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "export.json").write_text("[]")
    refused = fails("export", "--run", runs / "popularity", "--out", "other", "--overwrite")
    assert "was not written by ld4mrec" in refused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("ease", ["--format", "pickle"], "--format 'pickle' is not one of parquet, onnx"),
        ("bpr", ["--format", "onnx"], "bpr scores its training users only"),
        ("diffrec", ["--format", "parquet,onnx"], "diffrec is not exported as ONNX"),
    ],
)
def test_what_is_refused(fails, runs, tmp_path, model, arguments, message):
    if arguments != ["--format", "pickle"]:
        pytest.importorskip("onnx", reason="the extra `export` is not installed")
    assert message in fails("export", "--run", runs / model, "--out", "x", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_with_added_items_names_the_one_to_export(cli, fails, runs, workspace, tmp_path):
    known = pl.read_parquet(workspace.run / "items.parquet", glob=False)
    title = next(filter(None, known["title"].to_list()))
    (tmp_path / "new.csv").write_text(f"item,title\nnever-seen,{title}\n")
    source = runs / "ease"
    added = cli("add-items", "--run", source, "--items", "new.csv", "--out", "extended")
    assert (added.code, added.out.splitlines()[0]) == (0, "added 1 to 59 items"), added.err
    line = fails("export", "--run", "extended", "--out", "x")
    assert f"Export the run that it came from, {source.resolve()}" in line
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_without_the_extra_there_are_tables_alone(cli, fails, runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = fails("export", "--run", runs / "ease", "--out", "x", "--format", "onnx")
    assert (
        "ONNX needs the package onnx. Install the extra: pip install 'ld4mrec[export]'" in message
    )
    result = cli("export", "--run", runs / "ease", "--out", "x")
    assert result.code == 0
    assert "no onnx: ONNX needs the package onnx" in result.err
    assert not (tmp_path / "x" / "model.onnx").exists()


@pytest.mark.slow
def test_files_that_give_other_scores_are_not_written(cli, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ld4mrec_cli.serving.export.vectors.user_side",
        lambda scores: 1.01 * np.hstack([*scores.queries, np.ones((len(scores.queries[0]), 1))]),
    )
    result = cli("export", "--run", runs / "ld4mrec", "--out", "x", "--format", "parquet")
    assert result.code == 1
    assert "the tables give other scores than the model" in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_python_function_writes_the_same(runs, tmp_path):
    notes: list[str] = []
    path = tmp_path / "x"
    report = ld4mrec_cli.export(runs / "bpr", path, ["parquet"], device="cpu", on_note=notes.append)
    assert json.loads((path / "export.json").read_text())["files"] == report.files
    assert report.is_exact
    assert not notes
