"""Histories that fade, on the command line: from a log with times to lists."""

from __future__ import annotations

import json

import numpy as np


def write_log(path, n_users=60, n_group=12):
    """Users who turn from one of two groups of items to the other."""
    rng = np.random.default_rng(0)
    lines = ["user,item,date"]
    for user in range(n_users):
        groups = rng.permutation(2)
        items = np.concatenate([rng.permutation(n_group)[:8] + n_group * one for one in groups])
        lines += [f"u{user},i{item},2026-01-{n + 1:02}" for n, item in enumerate(items)]
    path.write_text("\n".join(lines) + "\n")


def test_the_times_of_histories_are_read(cli, fails, tmp_path):
    write_log(tmp_path / "log.csv")
    assert (
        cli("prepare", "--interactions", "log.csv", "--split", "temporal", "--out", "d").code == 0
    )
    flags = ("--data", "d", "--model", "ease", "--set", "ease.ridge=20")
    result = cli("train", *flags, "--run", "r")
    assert result.code == 0, result.err
    assert "histories: the weight of an item halves for every" in result.out
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["dataset"]["history_half_life"] > 0
    off = cli("train", *flags, "--run", "off", "--set", "data.history_half_life=off")
    assert off.code == 0, off.err
    assert "halves" not in off.out
    rows = [f"n,i{n},2026-02-{n + 1:02}" for n in range(4)]
    rows += [f"n,i{n},2026-03-{n - 11:02}" for n in range(12, 16)]

    def lists(run, table):
        (tmp_path / "h.csv").write_text("\n".join(["user,item,date", *table]) + "\n")
        result = cli("recommend", "--run", run, "--histories-file", "h.csv", "--format", "csv")
        assert result.code == 0, result.err
        return result.out

    assert lists("r", rows) == lists("r", rows[::-1]), "the times count, not the order of rows"
    swapped = [row.replace("2026-02", "2026-05") for row in rows]
    assert lists("r", rows) != lists("r", swapped)
    assert lists("off", rows) == lists("off", swapped)
    no_times = ["n,i1,", *rows]
    (tmp_path / "h.csv").write_text("\n".join(["user,item,date", *no_times]) + "\n")
    line = fails("recommend", "--run", "r", "--histories-file", "h.csv")
    assert "row 1" in line
    (tmp_path / "h.csv").write_text("user,item,date\nn,i1,soon\n")
    line = fails("recommend", "--run", "r", "--histories-file", "h.csv")
    assert "row 1: 'soon' is not a number of seconds or an ISO date" in line
    line = fails("train", *flags, "--run", "bad", "--set", "data.history_half_life=-1")
    assert "data.history_half_life" in line
