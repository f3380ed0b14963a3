"""Paths with ``[ ] * ?`` name one directory, not a pattern."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest


@pytest.fixture
def shops(tmp_path: Path) -> Path:
    """Raw directories ``v1`` and ``v[1]``; as a pattern the second name matches the first."""
    for name, letter in (("v1", "a"), ("v[1]", "b")):
        (tmp_path / "raw" / name).mkdir(parents=True)
        rows = [
            (f"{letter}u{user}", f"{letter}i{(user + step) % 9}")
            for user in range(9)
            for step in range(5)
        ]
        table = pl.DataFrame(rows, schema=["user", "item"], orient="row")
        table.write_csv(tmp_path / "raw" / name / "interactions.csv")
    return tmp_path


def prepare_and_train(cli, raw: str, run: str) -> None:
    result = cli("prepare", "--raw", f"raw/{raw}", "--out", f"data/{run}", "--k-core", "0")
    assert result.code == 0, result.err
    result = cli("train", "--data", f"data/{run}", "--model", "ease", "--run", f"runs/{run}")
    assert result.code == 0, result.err


def test_a_run_with_brackets_serves_its_own_lists(cli, shops):
    for name in ("v1", "v[1]"):
        prepare_and_train(cli, name, name)
    result = cli("recommend", "--run", "runs/v[1]", "--all", "--k", "1", "--format", "csv")
    assert result.code == 0, result.err
    lines = result.out.splitlines()[1:]
    assert len(lines) == 9
    for line in lines:
        user, _, item = line.split(",")[:3]
        assert user.startswith("bu")
        assert item.startswith("bi")


@pytest.mark.parametrize("name", ["x[lr=1]", "a*", "what?"])
def test_every_command_takes_a_path_literally(cli, shops, name):
    prepare_and_train(cli, "v[1]", name)
    commands = [
        ("recommend", "--run", f"runs/{name}", "--user", "bu3", "--k", "1"),
        ("evaluate", "--run", f"runs/{name}"),
        ("inspect", f"data/{name}"),
        ("inspect", "raw/v[1]"),
        ("inject-noise", "--data", f"data/{name}", "--out", f"noisy/{name}", "--ratio", "0.1"),
        ("inspect", f"noisy/{name}"),
    ]
    for command in commands:
        result = cli(*command)
        assert result.code == 0, (command, result.err)
