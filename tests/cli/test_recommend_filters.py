"""`recommend` with filters, candidates and many histories, through the command."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.splits import SPLITS

N_ITEMS = 24
ITEMS = [f"i{n:02d}" for n in range(N_ITEMS)]
COLORS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Runs of a shop whose items have a color, a size and tags."""
    root = tmp_path_factory.mktemp("shop")
    raw = root / "raw"
    raw.mkdir()
    pairs = [(f"u{n:02d}", ITEMS[(n + 3 * step) % N_ITEMS]) for n in range(40) for step in range(6)]
    pairs += [(f"u{n:02d}", ITEMS[(n + 1) % N_ITEMS]) for n in range(40)]
    lines = "\n".join(f"{user},{item}" for user, item in pairs)
    (raw / "interactions.csv").write_text(f"user,item\n{lines}\n")
    pl.DataFrame(
        {
            "item": ITEMS,
            "title": [f"Thing {item}" for item in ITEMS],
            "color": [COLORS[n % 3] for n in range(N_ITEMS)],
            "size": [n % 4 for n in range(N_ITEMS)],
        }
    ).write_parquet(raw / "items.parquet")
    assert run(["prepare", "--raw", str(raw), "--out", str(root / "data")]) == 0
    for model in ("ease", "ld4mrec", "bpr", "itemknn"):
        command = ["train", "--data", str(root / "data"), "--model", model, "--device", "cpu"]
        short = ["--set", "training.max_epochs=2"]
        assert run([*command, *short, "--run", str(root / model)]) == 0
    return root


@pytest.fixture(params=["ease", "ld4mrec"])
def recommend(request, cli, shop):
    def call(*arguments):
        result = cli("recommend", "--run", shop / request.param, *arguments)
        assert result.code == 0, result.err
        return result

    return call


def lists_of(result):
    """Items and scores by user, from CSV."""
    lists = {}
    for row in csv.DictReader(io.StringIO(result.out)):
        lists.setdefault(row["user"], []).append((row["item"], float(row["score"])))
    return lists


def known_of(shop):
    dataset = Dataset.open(shop / "data")
    known = dataset.matrix(*SPLITS)
    return {
        user: {dataset.items[i] for i in known[n].indices}
        for n, user in enumerate(dataset.users.ids)
    }


EVERYTHING = ("--all", "--k", N_ITEMS, "--format", "csv")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for user, entries in expected.items():
        assert [item for item, _ in found[user]] == [item for item, _ in entries]
        assert [s for _, s in found[user]] == pytest.approx([s for _, s in entries], abs=1e-5)


@pytest.mark.parametrize(
    ("flags", "is_allowed"),
    [
        (["--where", "color=red"], lambda n: n % 3 == 0),
        (["--where", "color=red", "--where", "color=blue"], lambda n: n % 3 != 1),
        (["--where", "color=red", "--where", "size=2"], lambda n: n % 3 == 0 and n % 4 == 2),
        (["--items-file", "stock.csv"], lambda n: n in (2, 3, 17)),
        (["--items-file", "stock.txt"], lambda n: n in (2, 3, 17)),
        (["--items-file", "stock.txt", "--where", "color=blue"], lambda n: n in (2, 17)),
        (["--exclude-file", "stock.csv"], lambda n: n not in (2, 3, 17)),
        (
            ["--exclude-file", "stock.txt", "--where", "color=blue"],
            lambda n: n % 3 == 2 and n not in (2, 17),
        ),
    ],
)  # fmt: skip
def test_a_filter_gives_the_rest_of_the_whole_list(recommend, tmp_path, flags, is_allowed):
    (tmp_path / "stock.csv").write_text("price,productId\n1,i02\n1,i03\n2,i17\n")
    (tmp_path / "stock.txt").write_text("i02\n\ni17\r\n i03 \n")
    allowed = {item for n, item in enumerate(ITEMS) if is_allowed(n)}
    whole = lists_of(recommend(*EVERYTHING))
    expected = {
        user: [entry for entry in entries if entry[0] in allowed] for user, entries in whole.items()
    }
    found = lists_of(recommend(*EVERYTHING, *flags))
    assert_same(found, {user: entries for user, entries in expected.items() if entries})


def test_items_are_excluded_for_one_user(recommend, tmp_path):
    (tmp_path / "no.csv").write_text("user,item\nu01,i05\nu01,i10\nu02,i12\n")
    whole = lists_of(recommend(*EVERYTHING))
    denied = {"u01": {"i05", "i10"}, "u02": {"i12"}}
    expected = {
        user: [entry for entry in entries if entry[0] not in denied.get(user, ())]
        for user, entries in whole.items()
    }
    assert whole != expected
    assert_same(lists_of(recommend(*EVERYTHING, "--exclude-file", "no.csv")), expected)


def test_unknown_ids_of_filters_are_counted(recommend, tmp_path):
    (tmp_path / "stock.csv").write_text("item\ni02\ngone\nlost\n")
    (tmp_path / "no.csv").write_text("user,item\nu01,i05\nnobody,gone\n")
    result = recommend("--user", "u03", "--items-file", "stock.csv", "--exclude-file", "no.csv")
    assert result.err.splitlines() == [
        "stock.csv: 2 of 3 items are unknown and are ignored",
        "no.csv: 1 of 2 users are unknown",
        "no.csv: 1 of 2 items are unknown and are ignored",
    ]


def test_an_empty_list_is_said(recommend, shop, tmp_path):
    user, own = next(iter(known_of(shop).items()))
    (tmp_path / "own.txt").write_text("\n".join(own))
    result = recommend("--user", user, "u05", "--items-file", "own.txt", "--format", "json")
    assert json.loads(result.out.splitlines()[0]) == {"user": user, "items": []}
    assert "1 of 2 lists are empty: every item is known or filtered out" in result.err


@pytest.mark.parametrize("flags", [[], ["--where", "color=red"]])
def test_candidates_have_the_scores_of_the_lists(recommend, shop, tmp_path, flags):
    pairs = [("u03", "i09"), ("u01", "i23"), ("u03", "i00"), ("u03", "i03"), ("u01", "i23")]
    known = known_of(shop)
    assert "i03" in known["u03"]  # ranked all the same
    lines = "\n".join(f"{user},{item}" for user, item in pairs)
    (tmp_path / "pairs.csv").write_text(f"customer,product\n{lines}\n")
    whole = lists_of(recommend(*EVERYTHING, "--include-seen", *flags))
    expected = {
        user: [entry for entry in whole[user] if (user, entry[0]) in pairs]
        for user in ("u03", "u01")
    }
    arguments = ("--candidates", "pairs.csv", "--format", "csv", *flags)
    expected = {user: entries for user, entries in expected.items() if entries}
    assert_same(lists_of(recommend(*arguments)), expected)
    cut = {user: entries[:1] for user, entries in expected.items()}
    assert_same(lists_of(recommend(*arguments, "--k", "1")), cut)


def test_histories_of_new_and_known_users(recommend, shop, tmp_path):
    pl.DataFrame(
        {"user_id": ["new", "u07", "new", "u07"], "item_id": ["i04", "i20", "i07", "i02"]}
    ).write_parquet(tmp_path / "today.parquet")
    known = known_of(shop)["u07"]
    assert not known >= {"i20", "i02"}
    result = recommend("--histories-file", "today.parquet", "--k", "5", "--format", "json")
    new, old = (json.loads(line) for line in result.out.splitlines())
    assert (new["user"], old["user"]) == ("new", "u07")
    for one, history in ((new, {"i04", "i07"}), (old, known | {"i20", "i02"})):
        same = recommend("--history", ",".join(history), "--k", "5", "--format", "json").json
        assert [e["item"] for e in one["items"]] == [e["item"] for e in same["items"]]
        assert not history & {entry["item"] for entry in one["items"]}
    lists = lists_of(recommend("--histories-file", "today.parquet", "--k", 5, "--format", "csv"))
    assert list(lists) == ["new", "u07"]
    table = recommend("--histories-file", "today.parquet", "--k", 5).out
    assert "user new\n" in table
    assert recommend("--histories-file", "today.parquet", "--k", 5, "--out", "l.parquet").code == 0
    assert pl.read_parquet(tmp_path / "l.parquet", glob=False)[
        "user"
    ].unique().sort().to_list() == [
        "new",
        "u07",
    ]


def test_an_empty_history_gets_the_popular_items(recommend, shop, tmp_path):
    (tmp_path / "today.csv").write_text("user,item\nnew,nothing\nother,i04\nthird,nope\n")
    arguments = ("--histories-file", "today.csv", "--skip-unknown", "--k", "3", "--format", "csv")
    result = recommend(*arguments)
    lists = lists_of(result)
    known = known_of(shop).values()
    count = {item: sum(item in own for own in known) for item in ITEMS}
    popular = sorted(ITEMS, key=lambda item: (-count[item], item))[:3]
    assert lists["new"] == lists["third"] == [(item, 0.0) for item in popular]
    assert lists["other"] != lists["new"]
    assert result.err.splitlines() == [
        "today.csv: 2 unknown items are skipped: 'nothing', 'nope'",
        "2 of 3 lists are the most popular items: "
        "the history is empty, or the model relates no item to it",
    ]
    blue = lists_of(recommend(*arguments, "--where", "color=blue"))
    assert [item for item, _ in blue["new"]] == [
        item for item in sorted(ITEMS, key=lambda item: (-count[item], item)) if item in ITEMS[2::3]
    ][:3]


def test_unknown_users_are_skipped(recommend, tmp_path):
    (tmp_path / "users.txt").write_text("u01\nstranger\nu02\n")
    for users in (["--users-file", "users.txt"], ["--user", "u01", "stranger", "u02"]):
        result = recommend(*users, "--skip-unknown", "--k", "2", "--format", "csv")
        assert list(lists_of(result)) == ["u01", "u02"]
        assert "1 unknown user is skipped: 'stranger'" in result.err


def test_a_model_of_training_users_serves_them_alone(cli, fails, shop, tmp_path):
    """bpr cannot read new purchases, but it leaves them out."""
    (tmp_path / "today.csv").write_text("user,item\nu01,i12\nnew,i04\n")
    arguments = ("recommend", "--run", shop / "bpr", "--histories-file", "today.csv")
    assert "bpr scores its training users only" in fails(*arguments)
    result = cli(*arguments, "--skip-unknown", "--k", N_ITEMS, "--format", "csv")
    assert "1 new users are skipped" in result.err
    ((user, entries),) = lists_of(result).items()
    assert user == "u01"
    assert {item for item, _ in entries} == set(ITEMS) - known_of(shop)["u01"] - {"i12"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all", "--where", "color"], "--where 'color' is not of that form"),
        (["--all", "--where", "colour=red"], "no column 'colour'. Did you mean 'color'?"),
        (["--all", "--where", "color=rod"], "no item has 'rod' in column 'color'"),
        (["--all", "--where", "color=red", "--items-file", "green.txt"], "leave no item"),
        (["--all", "--items-file", "none.txt"], "none.txt: none of the 1 items is known"),
        (["--all", "--items-file", "blank.txt"], "blank.txt: names no item"),
        (["--all", "--items-file", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--all", "--items-file", "headless.csv"], "has no item column among: i01"),
        (["--all", "--exclude-file", "hole.csv"], "hole.csv: row 2 has no item"),
        (["--histories-file", "today.csv"], "today.csv: 4 unknown items: 'a', 'b', 'c', …"),
        (["--histories-file", "green.txt"], "green.txt: is not a table"),
        (["--candidates", "strangers.csv"], "strangers.csv: unknown user 'nobody'"),
        (["--candidates", "strangers.csv", "--skip-unknown"], "no pair of a known user and item"),
        (["--candidates", "today.csv", "--all"], "several ways to name users"),
        (["--user", "x", "y", "--skip-unknown"], "no known user is left"),
        (["--user", "x", "y"], "2 unknown users: 'x', 'y'. --skip-unknown"),
    ],
)
def test_what_is_refused(fails, shop, tmp_path, arguments, message):
    for name, text in {
        "green.txt": "i01\n",
        "none.txt": "gone\n",
        "blank.txt": "\n\n",
        "headless.csv": "i01\ni02\n",
        "hole.csv": 'user,item\nu01,i01\nu01,""\n',
        "today.csv": "user,item\n" + "".join(f"n,{item}\n" for item in "abcd"),
        "strangers.csv": "user,item\nnobody,i01\n",
    }.items():
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.iterdir())
    error = fails("recommend", "--run", shop / "ease", *arguments)
    assert message in error
    assert sorted(tmp_path.iterdir()) == before
