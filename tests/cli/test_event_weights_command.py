"""Weighted events on the command line."""

from __future__ import annotations

import json

import pytest
from event_files import planted_events

from ld4mrec_cli.data.dataset import Dataset


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "interactions.csv").write_text(planted_events(n_users=60))
    return tmp_path / "raw"


@pytest.mark.slow
def test_flags_yaml_and_set_agree(cli, raw, tmp_path):
    (tmp_path / "weights.yaml").write_text(
        "prepare: {columns: {event: type}, event_weights: {view: 1, buy: 10}}"
    )
    by_set = "prepare.event_weights={view: 1, buy: 10}"
    ways = [
        ["--column", "event=type", "--weight", "view=1,buy=10"],
        ["--column", "event=type", "--weight", "view=1", "--weight", "buy=10"],
        ["--config", "weights.yaml"],
        ["--config", "weights.yaml", "--weight", "buy=10"],
        ["--column", "event=type", "--set", by_set],
    ]
    outputs, hashes = set(), set()
    for number, way in enumerate(ways):
        result = cli("prepare", "--raw", raw, "--out", f"d{number}", *way)
        assert result.code == 0, result.err
        outputs.add(result.out.replace(f"d{number}", "d"))
        hashes.add(Dataset.open(tmp_path / f"d{number}").hash)
    assert len(outputs) == len(hashes) == 1
    assert "(weight 1), buy 360 (weight 10)" in outputs.pop()


def test_combine_weights_acts(cli, raw):
    with (raw / "interactions.csv").open("a") as table:
        table.write("u0,i0,view,train\n" * 3)
    flags = ("prepare", "--raw", raw, "--column", "event=type", "--weight", "view=1,buy=10")
    result = cli(*flags, "--out", "d", "--set", "prepare.combine_weights=sum")
    assert "the sum of a user's events" in result.out
    assert cli(*flags, "--out", "e").code == 0
    assert Dataset.open("d").hash != Dataset.open("e").hash


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--weight", "view"], "--weight 'view' is not of the form EVENT=W,..."),
        (["--weight", "view=1,view=2"], "--weight names view twice"),
        (["--weight", "view=1"], "event_weights need the column of the events: --column event="),
        (["--column", "event=type", "--weight", "view=x"], "event_weights.view"),
        (["--column", "event=type", "--weight", "view=-1"], "event_weights.view"),
        (["--column", "event=type"], "csv:2: event 'buy' has no weight; the events are view"),
        (["--column", "weight=type"], "csv:2: 'buy' in column 'type' is not a weight"),
    ],
)
def test_wrong_weights_are_one_line(fails, raw, flags, message):
    assert message in fails("prepare", "--raw", raw, "--out", "d", *flags)


def test_a_hostile_event_is_shown_harmlessly(fails, tmp_path):
    (tmp_path / "log.csv").write_text("user,item,type\na,x,\x1b[31mbuy\n")
    line = fails("prepare", "--interactions", "log.csv", "--column", "event=type", "--out", "d")
    assert "\x1b" not in line


def test_zero_is_counted_in_the_report(cli, raw):
    flags = ("prepare", "--raw", raw, "--column", "event=type", "--weight", "view=0,buy=1")
    result = cli(*flags, "--out", "d")
    assert "events of weight 0" in result.out
    assert "weights: all are 1, as without weights" in result.out


def test_inspect_shows_the_events(cli, raw, tmp_path):
    result = cli("inspect", raw, "--set", "prepare.columns.event=type")
    assert result.code == 0
    assert "event" in result.out
    shown = cli("inspect", raw, "--set", "prepare.columns.event=type", "--format", "json").json
    assert {one["event"] for one in shown["events"]} == {"view", "buy"}
    page = cli("inspect", raw, "--set", "prepare.columns.event=type", "--out", "page.html")
    assert page.code == 0
    assert "Events and weights" in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_from_events_to_lists_and_back(cli, raw, tmp_path):
    flags = ("--column", "event=type", "--weight", "view=1,buy=10")
    assert cli("prepare", "--raw", raw, "--out", "d", *flags).code == 0
    assert cli("train", "--data", "d", "--model", "ease", "--run", "r").code == 0
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["dataset"]["mean_weight"] > 1.0
    result = cli(
        "train", "--data", "d", "--model", "bpr", "--run", "b", "--set", "training.max_epochs=1"
    )
    assert "bpr does not read the weights of the interactions" in result.err
    (tmp_path / "h.csv").write_text("user,item,weight\nnew,i1,10\nnew,i20,1\n")
    weighted = cli("recommend", "--run", "r", "--histories-file", "h.csv", "--format", "csv")
    (tmp_path / "h.csv").write_text("user,item,weight\nnew,i1,1\nnew,i20,10\n")
    turned = cli("recommend", "--run", "r", "--histories-file", "h.csv", "--format", "csv")
    assert weighted.code == turned.code == 0
    assert weighted.out != turned.out
    (tmp_path / "h.csv").write_text("user,item,weight\nnew,i1,heavy\n")
    refused = cli("recommend", "--run", "r", "--histories-file", "h.csv")
    assert (refused.code, "row 1: 'heavy' is not a weight" in refused.err) == (2, True)
    other = cli("recommend", "--run", "b", "--candidates", "h.csv", "--skip-unknown")
    assert "heavy" not in other.err  # a column that is not read is not checked
    systems = ("--model", "ease", "--model", "popularity", "--seeds", "0", "--out", "cmp")
    compared = cli("compare", "--data", "d", *systems)
    assert compared.code == 0, compared.err
    reasons = cli("recommend", "--run", "r", "--user", "u1", "--reasons", "40", "--format", "json")
    entry = reasons.json["items"][0]
    assert sum(one["share"] for one in entry["reasons"]) == pytest.approx(entry["score"], abs=1e-5)
