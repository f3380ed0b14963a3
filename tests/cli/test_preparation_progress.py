from __future__ import annotations

import pytest
from rich.console import Console

from ld4mrec_cli.cli import console

LONG = "reading reviews[1].json.gz"


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_gets_a_line_each_ten_seconds(clock, capsys):
    with console.preparation_progress() as show:
        for seconds in range(25):
            clock[0] = float(seconds)
            show(LONG, seconds * 1_000_000, 25_000_000, megabytes=True)
            show("encoding text", seconds, 25)
        show("reading short.json", 1, 1)
    assert capsys.readouterr().err.splitlines() == [
        "reading reviews[1].json.gz: 10 of 25 MB",
        "encoding text: 10 of 25",
        "reading reviews[1].json.gz: 20 of 25 MB",
        "encoding text: 20 of 25",
    ]


def test_a_terminal_gets_a_bar_per_file_while_it_is_read(monkeypatch, tmp_path):
    with (tmp_path / "screen").open("w+", encoding="utf-8") as screen:
        terminal = Console(file=screen, force_terminal=True, width=100)
        monkeypatch.setattr(console, "stderr", lambda: terminal)
        with console.preparation_progress() as show:
            show("reading short.json", 5, 5)
            show(LONG, 10_000_000, 40_000_000, megabytes=True)
        screen.seek(0)
        shown = screen.read()
    assert "reading reviews[1].json.gz" in shown
    assert "10 of 40 MB" in shown
    assert "short.json" not in shown
