"""Characters of the data that steer a terminal reach neither stdout, stderr nor Markdown."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys

import polars as pl
import pytest

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.cli.console import SafeConsole
from ld4mrec_cli.utils.text import SafeStream, is_safe, printable, printable_lines, to_json

HOSTILE = "\x1b]52;c;eA==\x07\x1b]8;;http://x\x1b\\k\u202e\u2066\x9b31m\x7f"
"""Sets the clipboard, makes a link, turns the text around, and colors it by a C1 control."""


def unsafe(text: str) -> set[str]:
    return {c for c in text if c not in "\n\t" and not is_safe(c)}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A raw folder whose ids, titles and brands hold hostile characters."""
    path = tmp_path_factory.mktemp("hostile") / "raw"
    path.mkdir()
    pairs = [(user, item) for user in range(9) for item in range(7) if (user + item) % 2]
    pl.DataFrame(
        {"user": [f"u{HOSTILE}{u}" for u, _ in pairs], "item": [f"i{HOSTILE}{i}" for _, i in pairs]}
    ).write_parquet(path / "interactions.parquet")
    pl.DataFrame(
        {
            "item": [f"i{HOSTILE}{item}" for item in range(7)],
            "title": [f"hat {HOSTILE} {item}" for item in range(7)],
        }
    ).write_parquet(path / "items.parquet")
    return path


@pytest.fixture(scope="module")
def data(raw):
    out = raw.parent / "data"
    assert run(["prepare", "--raw", str(raw), "--out", str(out), "--k-core", "0"]) == 0
    return out


@pytest.fixture(scope="module")
def trained(data):
    path = data.parent / "run"
    assert run(["train", "--data", str(data), "--model", "itemknn", "--run", str(path)]) == 0
    return path


def test_a_table_of_recommendations_shows_no_control_character(trained, capsys):
    capsys.readouterr()
    assert run(["recommend", "--run", str(trained), "--all", "--k", "3", "--include-seen"]) == 0
    captured = capsys.readouterr()
    assert "hat" in captured.out
    assert unsafe(captured.out + captured.err) == set()


def test_an_inspection_shows_no_control_character(raw, data, capsys):
    for directory in (raw, data):
        capsys.readouterr()
        assert run(["inspect", str(directory)]) == 0
        captured = capsys.readouterr()
        assert "hat" in captured.out
        assert unsafe(captured.out + captured.err) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["recommend", "--run", "RUN", "--user", f"nobody{HOSTILE}"],
        ["recommend", "--run", "RUN", "--history", f"nothing{HOSTILE}"],
        ["train", "--data", f"no{HOSTILE}where"],
        ["train", "--set", f"model.{HOSTILE}=1"],
        ["train", "--set", f"training.device={HOSTILE}"],
        ["train", f"--{HOSTILE}"],
        [f"{HOSTILE}"],
        ["prepare", "--raw", f"no{HOSTILE}where"],
        ["config", "--set", f"name={HOSTILE}"],
    ],
)
def test_an_error_message_shows_no_control_character(arguments, trained, capsys):
    arguments = [str(trained) if argument == "RUN" else argument for argument in arguments]
    capsys.readouterr()
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert unsafe(captured.err) == set()


def test_paths_with_control_characters_are_shown_safely(raw, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / f"out{HOSTILE.replace('/', '')}"
    missing = raw.parent / out.name
    for arguments in (["--raw", str(raw), "--out", str(out)], ["--raw", str(missing)]):
        assert run(["prepare", *arguments, "--k-core", "0"]) == 2
        captured = capsys.readouterr()
        assert unsafe(captured.out + captured.err) == set()
        assert captured.err.count("\n") == 1


def test_json_keeps_the_data_and_shows_no_control_character(trained, capsys):
    capsys.readouterr()
    arguments = ["--all", "--k", "2", "--include-seen", "--format", "json"]
    assert run(["recommend", "--run", str(trained), *arguments]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert HOSTILE in first["user"]
    assert HOSTILE in first["items"][0]["item"]


def test_yaml_keeps_the_data_and_shows_no_control_character(capsys):
    capsys.readouterr()
    key = "prepare.text_encoder"
    assert run(["config", "--set", f"{key}=x\u202ey"]) == 0
    assert unsafe(capsys.readouterr().out) == set()


@pytest.mark.slow
def test_on_a_terminal_every_output_is_safe(trained, tmp_path):
    """Also CSV, of which a pipe gets the true data."""
    command = [sys.executable, "-m", "ld4mrec_cli", "recommend", "--run", str(trained)]
    command += ["--all", "--k", "2", "--include-seen", "--format", "csv"]
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdout=slave, stderr=subprocess.PIPE, text=True)
    os.close(slave)
    content = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the end, on Linux
            break
        if not piece:
            break
        content += piece
    assert process.wait(60) == 0, process.stderr.read()
    process.stderr.close()
    os.close(master)
    text = content.decode().replace("\r\n", "\n")
    assert text.startswith("user,rank,item,score")
    assert unsafe(text) == set()
    assert HOSTILE in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "text", ["plain", "Ünïcödé 帽子\u3000x", "👩\u200d🚀", "می\u200cخواهم", "a\xa0b"]
)
def test_harmless_text_is_left_alone(text):
    assert printable(text) == text


def test_unsafe_text_is_replaced_and_lines_stay():
    assert printable("a\x1b[31mb\nc") == "a�[31mb�c"
    assert printable_lines("a\n\tb\x1b") == "a\n\tb�"
    assert printable("\u2028\u2029\ud800\ufeff") == "�" * 4


def test_json_of_unsafe_text_is_escaped():
    text = to_json({"a": HOSTILE + "\U000e0001é"})
    assert unsafe(text) == set()
    assert "é" in text
    assert json.loads(text) == {"a": HOSTILE + "\U000e0001é"}


def test_a_guarded_stream_passes_on_all_but_control_characters():
    stream = io.StringIO()
    SafeStream(stream).writelines(["a\x1bb\n", "c\rd"])
    assert stream.getvalue() == "a�b\nc\rd"


def test_a_console_shows_no_control_character_in_tables_either():
    from rich.table import Table

    stream = io.StringIO()
    table = Table(title=f"t{HOSTILE}")
    table.add_column(f"c{HOSTILE}")
    table.add_row(f"r{HOSTILE}")
    SafeConsole(file=stream, width=200).print(table, f"s{HOSTILE}", markup=False)
    assert unsafe(stream.getvalue()) == set()


def test_a_markdown_report_is_safe():
    from ld4mrec_cli.experiments.compare.report import markdown
    from ld4mrec_cli.experiments.compare.results import (
        Comparison,
        DatasetRecord,
        RunResult,
        SystemResult,
    )

    failed = RunResult(seed=0, path="r", error=f"no {HOSTILE} file")
    system = SystemResult.of(f"x{HOSTILE}", "ease", None, False, [failed])
    values = {"path": "d", "name": f"d{HOSTILE}", "hash": "0", "n_users": 1, "n_items": 1}
    text = markdown(
        Comparison.model_construct(
            dataset=DatasetRecord.model_construct(**values),
            split="test",
            mask="train",
            metric="ndcg@20",
            tested=["ndcg@20"],
            seeds=[0],
            n_users=1,
            systems=[system],
            pairs={},
        )
    )
    assert "d�]52" in text
    assert unsafe(text) == set()
