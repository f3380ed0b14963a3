"""examples/nightly.sh does two nights on generated orders."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.runs.manifest import read_manifest

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "nightly.sh"
ITEMS = [f"i{n:02d}" for n in range(30)]


def orders_until(day):
    """Customers buy around a theme; each night some are new."""
    return [
        (f"c{n:02d}", ITEMS[(5 * n + 2 * step) % 30], f"2026-01-{step + 1:02d}")
        for n in range(40 + 5 * day)
        for step in range(6 + day)
    ]


def write_export(directory, day):
    directory.mkdir(exist_ok=True)
    tables = {
        "orders.csv": [("customer", "product", "date"), *orders_until(day)],
        "items.csv": [("product", "title"), *((item, f"Thing {item}") for item in ITEMS)],
        "stock.csv": [("product",), *((item,) for item in ITEMS[day:])],
        "today.csv": [("customer", "product"), ("c01", ITEMS[20]), ("brand-new", ITEMS[3])],
    }
    for name, rows in tables.items():
        with (directory / name).open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)


def read_rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock, of util-linux")
def test_two_nights(tmp_path):
    export, work = tmp_path / "export", tmp_path / "work"
    write_export(export, 0)
    tables = ["--interactions", str(export / "orders.csv"), "--items", str(export / "items.csv")]
    split = str(tmp_path / "split")
    assert run(["prepare", *tables, "--split", "temporal", "--k-core", "0", "--out", split]) == 0
    chosen = tmp_path / "chosen"
    assert run(["train", "--data", split, "--model", "ease", "--run", str(chosen)]) == 0
    environment = {**os.environ, "LD4MREC": f"{sys.executable} -m ld4mrec_cli", "K": "5"}

    def night(**settings):
        return subprocess.run(
            [SCRIPT, export, work, chosen],
            env={**environment, **settings},
            capture_output=True,
            text=True,
            check=False,
        )

    seen = []
    for day in (0, 1):
        write_export(export, day)
        done = night()
        assert done.returncode == 0, done.stderr
        rows, orders = read_rows(work / "lists.csv"), orders_until(day)
        bought = {(user, item) for user, item, _ in orders}
        assert {row["user"] for row in rows} == {user for user, _, _ in orders}
        assert not {(row["user"], row["item"]) for row in rows} & bought
        assert {row["item"] for row in rows} <= set(ITEMS[day:])
        today = read_rows(work / "today.csv")
        assert {row["user"] for row in today} == {"c01", "brand-new"}
        assert ("c01", ITEMS[20]) not in {(row["user"], row["item"]) for row in today}
        seen.append(rows)
    assert seen[0] != seen[1]
    runs = sorted((work / "runs").iterdir())
    assert len(runs) == 2
    assert all(read_manifest(path / "manifest.json").refit_of.run == str(chosen) for path in runs)
    # A night with too few lists leaves those of the night before.
    failed = night(MIN_LISTS="1000")
    assert failed.returncode == 1
    assert "the old ones stay" in failed.stderr
    assert read_rows(work / "lists.csv") == seen[1]
