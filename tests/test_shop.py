"""examples/shop.sh does two nights of a generated shop whose answer is known."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import typer.main

from ld4mrec_cli.cli.app import app
from ld4mrec_cli.data.synthetic_shop import ShopSize, SyntheticShop
from ld4mrec_cli.runs.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "examples" / "shop.sh"
K, CATEGORY, WEIGHT = 10, "Küche", "view=1,cart=3,buy=10"
WITHIN = 0.7
"""Share of list entries within the taste of the customer; by chance it is 0.25."""
TRAINING = "--set model.hidden_dim=64 --set training.max_epochs=12 --set training.patience=4"


def has_option(command, option):
    known = typer.main.get_command(app).commands.get(command)
    return known is not None and any(option in one.opts for one in known.params)


HAS_WEIGHTS = has_option("prepare", "--weight")
HAS_CATALOG = has_option("prepare", "--catalog")
HAS_ADD_ITEMS = has_option("add-items", "--items")


@dataclass
class Night:
    shop: SyntheticShop
    day: int
    export: Path
    work: Path
    output: str

    def rows(self, name):
        with (self.work / name).open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    def exported(self, name):
        return pl.read_csv(self.export / name, glob=False)

    def pairs(self, name):
        return set(self.exported(name).select("customer", "product").iter_rows())

    def share_within_taste(self, pairs):
        hits = [self.shop.category_of(item) in self.shop.tastes_of(user) for user, item in pairs]
        return sum(hits) / len(hits)


@pytest.fixture(scope="module", params=[1, 2], ids=["night-1", "night-2"])
def night(request, nights):
    return nights[request.param - 1]


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Both nights; the files of the first are copied before the second."""
    if not shutil.which("flock"):
        pytest.skip("needs flock, of util-linux")
    root = tmp_path_factory.mktemp("shop")
    # Products without an event are in the catalog where this version can serve them.
    shop = SyntheticShop(seed=7, size=ShopSize(first_events=0 if HAS_CATALOG else 3))
    done = []
    for day in (1, 2):
        export, work = root / f"export-{day}", root / "work"
        shop.write_export(export, day)
        output = run_night(export, work)
        kept = shutil.copytree(work, root / f"kept-{day}", ignore=shutil.ignore_patterns("data"))
        done.append(Night(shop, day, export, kept, output))
    return done


def run_night(export, work):
    settings = {
        "LD4MREC": f"{sys.executable} -m ld4mrec_cli",
        "TRAIN_OPTIONS": f"--device cpu {TRAINING}",
        "K": str(K),
        "REASONS": "1000",
        "CATEGORY": CATEGORY,
        "WEIGHT": WEIGHT if HAS_WEIGHTS else "",
        "CATALOG": "all" if HAS_CATALOG else "",
        "ADD_ITEMS": "1" if HAS_ADD_ITEMS else "",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [SCRIPT, export, work],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


pytestmark = pytest.mark.slow


def test_everyone_has_a_list_and_no_list_holds_what_its_customer_has_had(night):
    rows, had = night.rows("lists.csv"), night.pairs("orders.csv")
    assert {row["user"] for row in rows} == {user for user, _ in had}
    assert len(rows) == K * len({user for user, _ in had})
    for name in ("lists.csv", "category.csv"):
        assert not {(row["user"], row["item"]) for row in night.rows(name)} & had
    bought = had | night.pairs("today.csv")
    for line in (night.work / "today.json").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        assert not {(one["user"], entry["item"]) for entry in one["items"]} & bought


def test_filters_hold_for_every_row(night):
    rows = night.rows("lists.csv")
    assert {row["item"] for row in rows} <= set(night.exported("stock.csv")["product"])
    assert not {(row["user"], row["item"]) for row in rows} & night.pairs("returned.csv")
    kitchen = night.rows("category.csv")
    assert kitchen
    assert {night.shop.category_of(row["item"]) for row in kitchen} == {CATEGORY}
    similar = night.rows("similar.csv")
    assert {row["similar"] for row in similar} <= set(night.exported("stock.csv")["product"])


def test_lists_and_similar_products_are_of_the_taste(night):
    pairs = [(row["user"], row["item"]) for row in night.rows("lists.csv")]
    assert night.share_within_taste(pairs) >= WITHIN
    similar = night.rows("similar.csv")
    of = night.shop.category_of
    same = [of(row["item"]) == of(row["similar"]) for row in similar]
    assert sum(same) / len(same) >= 0.5  # by chance one in eight; half is another taste


def test_new_products_reach_customers_of_their_taste(night):
    shop, rows = night.shop, night.rows("arrivals.csv")
    new = shop.item_ids(*(shop.items_until(day) for day in (night.day - 1, night.day)))
    assert {row["item"] for row in rows} <= set(new)
    assert len({row["item"] for row in rows}) >= 0.8 * len(new)
    assert night.share_within_taste([(row["user"], row["item"]) for row in rows]) >= WITHIN
    if HAS_ADD_ITEMS:
        first = [row for row in night.rows("new.csv") if int(row["rank"]) <= 3]
        assert {row["item"] for row in first} <= set(night.exported("new-items.csv")["product"])
        assert night.share_within_taste([(row["user"], row["item"]) for row in first]) >= WITHIN


def test_reasons_add_up_to_the_score(night):
    explained = 0
    for line in (night.work / "today.json").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        for entry in one["items"]:
            if entry.get("reasons"):
                explained += 1
                total = sum(reason["share"] for reason in entry["reasons"])
                assert total == pytest.approx(entry["score"], rel=1e-3, abs=1e-6)
    assert explained >= 50 * K


def test_new_customers_of_today_have_lists_of_their_taste(night):
    known = {user for user, _ in night.pairs("orders.csv")}
    lists = [
        json.loads(line)
        for line in (night.work / "today.json").read_text(encoding="utf-8").splitlines()
    ]
    assert {one["user"] for one in lists} == {user for user, _ in night.pairs("today.csv")}
    new = [one for one in lists if one["user"] not in known]
    assert len(new) == 10
    bought = dict(night.pairs("today.csv"))
    hits = [
        night.shop.category_of(entry["item"]) == night.shop.category_of(bought[one["user"]])
        for one in new
        for entry in one["items"][:3]
        if bought[one["user"]] in set(night.exported("orders.csv")["product"])
    ]
    assert sum(hits) / len(hits) >= 0.5  # of one purchase; by chance one in eight


def test_the_second_night_starts_from_the_first(nights):
    first, second = (
        read_manifest(max((night.work / "runs").glob("*-trained")) / "manifest.json")
        for night in nights
    )
    assert first.init_from is None
    assert second.init_from.dataset_hash == first.dataset.hash
    assert second.init_from.users == first.dataset.n_users
    served = read_manifest(max((nights[1].work / "runs").glob("*-served")) / "manifest.json")
    assert served.refit_of.started == second.started
    assert "that the run does not know" in nights[1].output  # yesterday's run on today's data
    assert "newer" not in nights[0].output
