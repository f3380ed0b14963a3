"""`recommend --reasons`, through the command: what spoke for an entry, in shares of its score."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import polars as pl
import pytest

from ld4mrec_cli import Recommender
from ld4mrec_cli.cli.app import run

N_ITEMS, N_GROUPS = 24, 3
ITEMS = [f"i{n:02d}" for n in range(N_ITEMS - 1)] + ['odd, "item"']
MODELS = ("ease", "ials", "ld4mrec")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Runs of a shop with three groups of items, each bought by its own customers alone."""
    root = tmp_path_factory.mktemp("shop")
    raw = root / "raw"
    raw.mkdir()
    rng = np.random.default_rng(0)
    pairs = []
    for user in range(60):
        own = np.arange(user % N_GROUPS, N_ITEMS, N_GROUPS)
        pairs += [(f"u{user:02d}", ITEMS[item]) for item in rng.permutation(own)[:6]]
    frame = pl.DataFrame(pairs, schema=["user", "item"], orient="row")
    frame.write_csv(raw / "interactions.csv")
    titles = [f"Thing {item}" if item != "i03" else None for item in ITEMS]
    pl.DataFrame({"item": ITEMS, "title": titles}).write_parquet(raw / "items.parquet")
    assert run(["prepare", "--raw", str(raw), "--out", str(root / "data")]) == 0
    for model in (*MODELS, "bpr", "popularity"):
        command = ["train", "--data", str(root / "data"), "--model", model, "--device", "cpu"]
        epochs = ["--set", f"training.max_epochs={20 if model == 'ld4mrec' else 1}"]
        small = ["--set", "training.batch_size=16", "--set", "model.hidden_dim=16"]
        small += ["--set", "training.learning_rate=0.01"] if model == "ld4mrec" else []
        small += ["--set", "ials.factors=3"] if model == "ials" else []
        assert run([*command, *epochs, *small, "--run", str(root / model)]) == 0
    return root


def group_of(item):
    return ITEMS.index(item) % N_GROUPS


def recommended(cli, shop, model, *arguments):
    result = cli("recommend", "--run", shop / model, *arguments)
    assert result.code == 0, result.err
    return result


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_reason_is_the_item_of_the_group(cli, shop, model):
    """Of a history with one item of each group, that of the entry's group speaks for it."""
    history = ["i00", "i04", "i08"]
    arguments = ("--history", ",".join(history), "--k", 9, "--reasons", 9, "--format", "json")
    entries = recommended(cli, shop, model, *arguments).json["items"]
    assert len(entries) == 9
    for entry in entries:
        reasons = entry["reasons"]
        assert [reason["share"] for reason in reasons] == sorted(
            (reason["share"] for reason in reasons), reverse=True
        )
        assert {reason["item"] for reason in reasons} == set(history)
        assert all(reason["title"] == f"Thing {reason['item']}" for reason in reasons)
        total = sum(reason["share"] for reason in reasons)
        assert total == pytest.approx(entry["score"], rel=1e-4, abs=1e-6)
    own = [group_of(e["reasons"][0]["item"]) == group_of(e["item"]) for e in entries]
    assert np.mean(own) > 0.85  # by chance: 0.33


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_shares_of_a_whole_history_add_up(cli, shop, model, tmp_path):
    (tmp_path / "today.csv").write_text("user,item\nu01,i05\nnew,i03\nnew,i06\n")
    (tmp_path / "pairs.csv").write_text("user,item\nu01,i07\nu02,i03\nu02,i00\n")
    for users in (["--all"], ["--histories-file", "today.csv"], ["--candidates", "pairs.csv"]):
        arguments = (*users, "--k", "3", "--reasons", N_ITEMS, "--format", "json")
        lists = [
            json.loads(line) for line in recommended(cli, shop, model, *arguments).out.splitlines()
        ]
        entries = [entry for ranked in lists for entry in ranked["items"]]
        assert len(entries) >= 3
        for entry in entries:
            total = sum(reason["share"] for reason in entry["reasons"])
            assert total == pytest.approx(entry["score"], rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_every_format_names_the_same(cli, shop, tmp_path):
    chosen = ("--history", 'i02,i03,"odd, ""item"""', "--k", "4", "--reasons", "2")
    entries = recommended(cli, shop, "ease", *chosen, "--format", "json").json["items"]
    expected = [[reason["item"] for reason in entry["reasons"]] for entry in entries]
    assert {len(names) for names in expected} == {2}
    assert any(ITEMS[-1] in names for names in expected)
    text = recommended(cli, shop, "ease", *chosen, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["user", "rank", "item", "score", "reasons"]
    assert [next(csv.reader([row["reasons"]])) for row in rows] == expected
    again = rows[0]["reasons"]  # as --history reads them
    assert recommended(cli, shop, "ease", "--history", again, "--k", "1").out
    recommended(cli, shop, "ease", *chosen, "--out", "r.parquet")
    frame = pl.read_parquet(tmp_path / "r.parquet", glob=False)
    assert frame["reasons"].to_list() == [row["reasons"] for row in rows]
    lines = recommended(cli, shop, "ease", *chosen).out.splitlines()
    assert len(lines) == 1 + 2 * len(entries)
    names = [reason.get("title", reason["item"]) for reason in entries[0]["reasons"]]
    share = entries[0]["reasons"][0]["share"]
    assert lines[2].startswith(f"      because of {names[0]} ({share:.4g}), {names[1]} (")


@pytest.mark.slow
def test_without_the_option_nothing_changes(cli, shop):
    for format in ("json", "csv", "table"):
        chosen = ("--user", "u03", "--k", "3", "--format", format)
        plain = recommended(cli, shop, "ease", *chosen).out
        assert "because" not in plain
        assert "reasons" not in plain
        assert recommended(cli, shop, "ease", *chosen, "--reasons", "0").out == plain


@pytest.mark.slow
def test_popular_items_have_no_reasons(cli, shop, tmp_path):
    (tmp_path / "today.csv").write_text("user,item\nnew,nothing\n")
    arguments = ("--histories-file", "today.csv", "--skip-unknown", "--k", "2", "--reasons", "3")
    (one,) = [recommended(cli, shop, "ease", *arguments, "--format", "json").json]
    assert [entry["reasons"] for entry in one["items"]] == [[], []]
    text = recommended(cli, shop, "ease", *arguments, "--format", "csv").out
    assert [row["reasons"] for row in csv.DictReader(io.StringIO(text))] == ["", ""]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bpr", "popularity"])
def test_a_model_without_reasons_says_so(fails, shop, tmp_path, model):
    arguments = ("recommend", "--run", shop / model, "--all", "--reasons", "1", "--out", "x.csv")
    assert "it has no reasons. Use a model that does: ld4mrec" in fails(*arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_python_api_gives_what_the_command_gives(cli, shop):
    recommender = Recommender(shop / "ld4mrec", "cpu")
    ranked = recommender.recommend("u07", k=3, reasons=2)
    printed = recommended(
        cli, shop, "ld4mrec", "--user", "u07", "--k", "3", "--reasons", "2", "--format", "json"
    ).json
    assert [
        [(reason.item, pytest.approx(reason.share, rel=1e-4)) for reason in entry.reasons]
        for entry in ranked.items
    ] == [
        [(reason["item"], reason["share"]) for reason in entry["reasons"]]
        for entry in printed["items"]
    ]
    assert recommender.recommend("u07", k=3).items[0].reasons is None
    users = recommender.users.ids
    small = list(recommender.for_users(users, 2, reasons=1, batch_size=7))
    for one, other in zip(small, recommender.for_users(users, 2, reasons=1), strict=True):
        assert [e.reasons[0].item for e in one.items] == [e.reasons[0].item for e in other.items]
