"""`add-items`, through the command: new items of a shop reach customers of their taste."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import numpy as np
import polars as pl
import pytest
from raw_files import snapshot
from taste_shop import N_LATER, N_NEW, N_OLD, kind_of, taste_of, write_shop

from ld4mrec_cli import Recommender
from ld4mrec_cli.cli.app import run
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.models.specs import MODELS

ABLE = [name for name, spec in MODELS.items() if spec.takes_new_items]
NEW = {f"i{n}" for n in range(N_OLD, N_OLD + N_NEW)}
SHORT = ["--set", "training.max_epochs=8", "--set", "model.hidden_dim=16", "--device", "cpu"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A prepared shop, a run of each model that takes new items, and these runs extended."""
    root = write_shop(tmp_path_factory.mktemp("shop"))
    data = str(root / "data")
    tables = ["--interactions", str(root / "orders.csv"), "--items", str(root / "items.csv")]
    assert run(["prepare", *tables, "--text-field", "title", "--out", data]) == 0
    for model in (*ABLE, "popularity", "lightgcn"):
        short = [*SHORT, "--set", "ials.factors=8", "--set", "vbpr.factors=8"]
        if model == "vbpr":
            short += ["--set", "training.max_epochs=60", "--set", "training.learning_rate=0.02"]
        train = ["train", "--data", data, "--model", model, *short]
        assert run([*train, "--run", str(root / model)]) == 0
    for model in ABLE:
        add = ["add-items", "--run", str(root / model), "--items", str(root / "new.csv")]
        assert run([*add, "--weight", "1", "--out", str(root / f"{model}+")]) == 0
    return root


@pytest.fixture
def lists(cli, shop):
    """Runs `recommend` and returns its JSON lines."""

    def call(name, *arguments):
        result = cli("recommend", "--run", shop / name, "--format", "json", *arguments)
        assert result.code == 0, result.err
        return [json.loads(line) for line in result.out.splitlines()]

    return call


@pytest.mark.slow
@pytest.mark.parametrize("model", ABLE)
def test_new_items_reach_customers_of_their_taste(lists, model):
    found = lists(f"{model}+", "--all", "--k", "10")
    shown = [(one["user"], e["item"]) for one in found for e in one["items"] if e["item"] in NEW]
    within = Counter(kind_of(item) == taste_of(user) for user, item in shown)
    assert len(shown) >= len(found) / 2, "new items are buried"
    assert within[True] / len(shown) >= 0.7  # by chance .25
    assert len({item for _, item in shown}) >= N_NEW // 2


@pytest.mark.parametrize("model", ABLE)
def test_the_known_items_keep_their_order(lists, model):
    before = lists(model, "--user", "u0", "--k", "30")[0]["items"]
    after = lists(f"{model}+", "--user", "u0", "--k", "46")[0]["items"]
    known = [entry["item"] for entry in after if entry["item"] not in NEW]
    n_compared = min(len(known), len(before))
    assert n_compared >= 25
    assert known[:n_compared] == [entry["item"] for entry in before][:n_compared]


def test_filters_histories_titles_and_reasons_know_new_items(lists, shop):
    of_kind = lists("ease+", "--user", "u0", "--k", "40", "--where", "category=mützen")[0]
    items = {entry["item"] for entry in of_kind["items"]}
    assert {kind_of(item) for item in items} == {"mützen"}
    assert items & NEW
    titles = pl.read_csv(shop / "new.csv")
    title_of = dict(titles.select("item", "title").rows())
    assert all(e["title"] == title_of[e["item"]] for e in of_kind["items"] if e["item"] in NEW)
    price = lists("ease+", "--user", "u0", "--where", f"price={10 + N_OLD}")[0]["items"]
    assert [entry["item"] for entry in price] == [f"i{N_OLD}"]
    mine = lists("ease+", "--history", "i80,i84", "--k", "10", "--reasons", "2")[0]["items"]
    assert Counter(kind_of(entry["item"]) for entry in mine).most_common(1)[0][0] == "lampen"
    assert not {"i80", "i84"} & {entry["item"] for entry in mine}
    for entry in mine:
        assert {reason["item"] for reason in entry["reasons"]} == {"i80", "i84"}
        total = sum(reason["share"] for reason in entry["reasons"])
        assert total == pytest.approx(entry["score"], abs=1e-5)


@pytest.mark.parametrize("model", ABLE)
def test_similar_finds_new_items_and_what_is_like_them(cli, shop, model):
    for item in ("i80", "i0"):
        result = cli("similar", "--run", shop / f"{model}+", "--item", item, "--format", "json")
        entries = [entry["item"] for entry in json.loads(result.out)["items"]]
        assert item not in entries
        if item == "i80":
            assert {kind_of(entry) for entry in entries[:5]} == {"lampen"}
        elif model != "itemknn":
            assert set(entries) & NEW


@pytest.mark.parametrize("model", ["ease", "ld4mrec"])
def test_the_same_items_give_the_same_bytes_and_twice_is_at_once(cli, shop, tmp_path, model):
    both = pl.concat([pl.read_csv(shop / name) for name in ("new.csv", "later.csv")])
    both.write_csv(tmp_path / "both.csv")
    extend = ("add-items", "--items")
    first = ("--run", shop / model, "--weight", "1", "--out")
    assert cli(*extend, shop / "new.csv", *first, "again").code == 0
    assert snapshot(tmp_path / "again") == snapshot(shop / f"{model}+")
    assert cli(*extend, shop / "later.csv", "--run", "again", "--out", "twice").code == 0
    assert cli(*extend, "both.csv", *first, "once").code == 0
    twice, once = Recommender("twice"), Recommender("once")
    assert twice.items.ids == once.items.ids
    assert len(twice.items) == N_OLD + N_NEW + N_LATER
    for user in ("u0", "u1"):
        lists = [one.recommend(user, k=100).items for one in (twice, once)]
        for entries in zip(*lists, strict=True):
            assert entries[0].score == pytest.approx(entries[1].score, abs=1e-6)


def test_the_weight_brings_new_items_forward_and_stays(cli, shop, tmp_path):
    shares = []
    for weight in ("0.1", "1", "10"):
        out = f"weight-{weight}"
        add = ("add-items", "--run", shop / "ease", "--items", shop / "new.csv", "--out", out)
        assert cli(*add, "--weight", weight).code == 0
        users = Recommender(out).users.ids
        found = [entry.item for one in Recommender(out).for_users(users, 10) for entry in one.items]
        shares.append(np.mean([item in NEW for item in found]))
    assert shares[0] < shares[1] < shares[2]
    more = ("add-items", "--run", "weight-10", "--items", shop / "later.csv", "--out", "more")
    assert cli(*more).code == 0
    assert Recommender("more").run.manifest.new_items.weight == 10.0


def test_an_extended_run_is_evaluated_beside_its_new_items(cli, shop, tmp_path):
    shutil.copytree(shop / "ease+", "ease+")
    result = cli("evaluate", "--run", "ease+", "--k", "20", "--lists", "lists.csv")
    assert result.code == 0, result.err
    listed = set(pl.read_csv("lists.csv")["item"])
    assert listed & NEW
    assert listed - NEW


def test_ready_made_features_are_taken_too(cli, shop, tmp_path):
    data = Dataset.open(shop / "data")
    dim = data.schema.modalities["text"].dim
    new = pl.read_csv(shop / "new.csv")
    rows = data.modality("text").values[: len(new)]
    np.save("rows.npy", rows)
    np.savez("keyed.npz", ids=np.array(new["item"].to_list()), features=rows)
    new.select("item").write_csv("ids.csv")
    add = ("add-items", "--run", shop / "ease", "--items", "ids.csv")
    for name in ("rows.npy", "keyed.npz"):
        result = cli(*add, "--features", f"text={name}", "--out", f"of-{name}")
        assert result.code == 0, result.err
    assert snapshot(tmp_path / "of-rows.npy") == snapshot(tmp_path / "of-keyed.npz")
    found = Recommender("of-rows.npy").similar("i80", 1).items[0]
    assert found.item == data.items[0], "its vector is that of the first item"
    np.save("wide.npy", np.ones((len(new), dim + 1)))
    for flag, part in {
        "text=wide.npy": f"has {dim + 1} columns, but 'text' of the dataset has {dim}",
        "image=rows.npy": "has no modality 'image'",
        "text=none.npy": "no such file",
        "text": "is not NAME=FILE",
        "text=ids.csv": "is no file of features",
    }.items():
        result = cli(*add, "--features", flag, "--out", "x")
        assert (result.code, part in result.err) == (2, True), result.err
        assert not (tmp_path / "x").exists()


def test_items_without_content_come_last_and_are_told(cli, shop, tmp_path):
    rows = 'item,title\nblank,""\ngood,Lampe Licht\n'
    (tmp_path / "mixed.csv").write_text(rows)
    add = ("add-items", "--run", shop / "ld4mrec", "--out", "mixed", "--items", "mixed.csv")
    result = cli(*add)
    assert result.code == 0
    assert "1 of 2 items have no content" in result.err
    recommender = Recommender("mixed")
    listed = recommender.recommend("u0", k=N_OLD + 2).items
    assert listed[-1].item == "blank"
    assert listed[0].item != "blank"
    assert recommender.similar("blank").items == []


def test_mistakes_are_one_line_and_write_nothing(fails, shop, tmp_path):
    new, add = shop / "new.csv", ("add-items", "--run", shop / "ease", "--out", "x", "--items")
    (tmp_path / "empty.csv").write_text("item,title\n")
    (tmp_path / "foreign.csv").write_text("item,title\nq,Zzz Yyy\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    known = fails(*add, shop / "items.csv")
    assert "80 of the 80 items are known" in known
    assert "'i0'" in known
    assert "has no item" in fails(*add, "empty.csv")
    assert "no new item has content like that of known ones" in fails(*add, "foreign.csv")
    assert "no such file" in fails(*add, "none.csv")
    assert "is not a table" in fails(*add, shop / "data" / "schema.json")
    assert "is not a positive number" in fails(*add, new, "--weight", "0")
    assert "no modality that was encoded from images" in fails(*add, new, "--images", tmp_path)
    taken = ("add-items", "--run", shop / "ease", "--items", new, "--out", "taken")
    assert "taken: exists. Choose another --out" in fails(*taken)
    for model in ("popularity", "lightgcn"):
        line = fails("add-items", "--run", shop / model, "--items", new, "--out", "x")
        assert f"{model} takes no new items by their content" in line
        assert line.strip().endswith(", ".join(ABLE))
    assert not (tmp_path / "x").exists()
