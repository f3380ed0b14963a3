"""`similar`, through the command: items of one planted group are similar."""

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
ITEMS = [f"i{n:02d}" for n in range(N_ITEMS)]
MODELS = ("ease", "itemknn", "ials", "bpr", "ld4mrec")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Runs of a shop whose users buy in one of three groups of items; one title is missing."""
    root = tmp_path_factory.mktemp("shop")
    raw = root / "raw"
    raw.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for user in range(60):
        own = np.arange(user % N_GROUPS, N_ITEMS, N_GROUPS)
        lines += [f"u{user:02d},{ITEMS[item]}" for item in rng.permutation(own)[:6]]
        lines.append(f"u{user:02d},{ITEMS[rng.integers(N_ITEMS)]}")
    (raw / "interactions.csv").write_text("user,item\n" + "\n".join(dict.fromkeys(lines)) + "\n")
    titles = [f"Thing {item}" if item != "i03" else None for item in ITEMS]
    sizes = [n % 4 for n in range(N_ITEMS)]
    pl.DataFrame({"item": ITEMS, "title": titles, "size": sizes}).write_parquet(
        raw / "items.parquet"
    )
    assert run(["prepare", "--raw", str(raw), "--out", str(root / "data")]) == 0
    for model in (*MODELS, "popularity"):
        command = ["train", "--data", str(root / "data"), "--model", model, "--device", "cpu"]
        short = ["--set", "training.max_epochs=15", "--set", "training.batch_size=16"]
        short += ["--set", "ials.factors=3"] if model == "ials" else []
        assert run([*command, *short, "--run", str(root / model)]) == 0
    return root


@pytest.fixture
def similar(cli, shop):
    def call(model, *arguments):
        result = cli("similar", "--run", shop / model, *arguments)
        assert result.code == 0, result.err
        return result

    return call


def group_of(item):
    return ITEMS.index(item) % N_GROUPS


def read_csv(text):
    lists = {}
    for row in csv.DictReader(io.StringIO(text)):
        lists.setdefault(row["item"], []).append((row["similar"], float(row["score"])))
    return lists


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_group_is_similar(similar, model):
    lists = read_csv(similar(model, "--all", "--k", "5", "--format", "csv").out)
    assert list(lists) == ITEMS
    own = []
    for item, entries in lists.items():
        names = [name for name, _ in entries]
        assert item not in names
        assert len(set(names)) == len(names) <= 5
        assert [score for _, score in entries] == sorted((s for _, s in entries), reverse=True)
        own += [group_of(name) == group_of(item) for name in names]
    assert np.mean(own) > 0.7  # by chance: 0.3


@pytest.mark.slow
def test_every_format_says_the_same(similar, tmp_path):
    chosen = ("--item", "i04", "i03", "--k", "3")
    objects = [
        json.loads(line) for line in similar("ease", *chosen, "--format", "json").out.splitlines()
    ]
    assert [one["item"] for one in objects] == ["i04", "i03"]
    assert [one.get("title") for one in objects] == ["Thing i04", None]
    expected = [(o["item"], e["item"], e.get("title")) for o in objects for e in o["items"]]
    assert len(expected) == 6
    assert all(title == (f"Thing {name}" if name != "i03" else None) for _, name, title in expected)
    similar("ease", *chosen, "--out", "s.parquet")
    frame = pl.read_parquet(tmp_path / "s.parquet", glob=False)
    assert frame.columns == ["item", "rank", "similar", "score", "title"]
    assert list(frame.select("item", "similar", "title").iter_rows()) == expected
    assert frame["rank"].to_list() == [1, 2, 3] * 2
    lists = read_csv(similar("ease", *chosen, "--format", "csv").out)
    assert [(i, name) for i, es in lists.items() for name, _ in es] == [e[:2] for e in expected]
    table = similar("ease", *chosen).out.splitlines()
    assert table[0] == "similar to i04  Thing i04"
    assert table[5] == "similar to i03"
    assert table[1].split()[:2] == ["1", expected[0][1]]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ease", "bpr", "ld4mrec"])
def test_filters_choose_what_is_listed_not_what_is_asked(similar, tmp_path, model):
    (tmp_path / "stock.txt").write_text("".join(f"{item}\n" for item in ITEMS[::2]))
    whole = read_csv(similar(model, "--item", "i05", "--k", N_ITEMS, "--format", "csv").out)
    flags = ("--items-file", "stock.txt", "--where", "size=2", "--format", "csv")
    found = read_csv(similar(model, "--item", "i05", *flags).out)
    kept = [entry for entry in whole["i05"] if ITEMS.index(entry[0]) % 4 == 2]
    assert [name for name, _ in found["i05"]] == [name for name, _ in kept]
    assert [s for _, s in found["i05"]] == pytest.approx([s for _, s in kept], abs=1e-5)


@pytest.mark.slow
def test_the_python_api_gives_what_the_command_gives(similar, shop):
    recommender = Recommender(shop / "ials", "cpu")
    one = recommender.similar("i07", 4)
    printed = similar("ials", "--item", "i07", "--k", "4", "--format", "json").json
    assert (one.item, one.title) == ("i07", "Thing i07")
    assert [(e.item, e.title) for e in one.items] == [
        (e["item"], e.get("title")) for e in printed["items"]
    ]
    filters = recommender.filters.without([one.items[0].item])
    assert recommender.similar("i07", 3, filters=filters).items[0] == one.items[1]
    small = list(recommender.for_items(ITEMS, 3, batch_size=5))
    assert [o.item for o in small] == ITEMS
    assert [[e.item for e in o.items] for o in small] == [
        [e.item for e in o.items] for o in recommender.for_items(ITEMS, 3)
    ]
    assert list(recommender.for_items([], 3)) == []


@pytest.mark.slow
def test_an_item_like_nothing_is_said(similar, tmp_path):
    (tmp_path / "one.txt").write_text("i05\n")
    result = similar("ease", "--item", "i05", "i06", "--items-file", "one.txt", "--format", "json")
    assert json.loads(result.out.splitlines()[0])["items"] == []
    assert "1 of 2 items have no similar ones" in result.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("ease", [], "no item is given. Give --item ID or --all"),
        ("ease", ["--all", "--item", "i01"], "both --item and --all are given"),
        ("ease", ["i01"], "unexpected argument 'i01'. Name items with --item ID"),
        ("ease", ["--item", "i1"], "unknown item 'i1'. Did you mean 'i"),
        ("ease", ["--item", "i01", "--where", "size=9"], "no item has '9' in column 'size'"),
        ("ease", ["--item", "i01", "--out", "x.foo"], "the suffix names no format"),
        ("popularity", ["--all", "--out", "x.csv"], "popularity relates no item to another"),
    ],
)
def test_what_is_refused(fails, shop, tmp_path, model, arguments, message):
    assert message in fails("similar", "--run", shop / model, *arguments)
    assert not list(tmp_path.iterdir())
