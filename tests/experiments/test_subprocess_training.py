"""Trainings in subprocesses: their log, their end, and that none is left behind."""

from __future__ import annotations

import sys

import pytest

from ld4mrec_cli.experiments.subprocess_training import TrainingFailed, train_in_subprocess

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Have a shell script run in the place of Python."""

    def write(*lines):
        path = tmp_path / "python"
        path.write_text("\n".join(["#!/bin/sh", *lines]))
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return write


def test_the_command_and_its_lines(script):
    said = []
    script(
        'echo "$@"',
        "echo '  progress  ' >&2",
        'if read -r line; then echo "$line"; else echo "no input"; fi',
    )
    train_in_subprocess(["--run", "a b; c"], said.append)
    assert said == ["-m ld4mrec_cli train --run a b; c", "  progress", "no input"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["echo 'error: x: is bad. Mend it' >&2", "exit 2"], "x: is bad. Mend it"),
        (["exit 3"], "ended with exit code 3"),
        (["kill -9 $$"], "was killed (SIGKILL), perhaps out of memory"),
        (["kill -15 $$"], "was killed (SIGTERM)"),
    ],
)
def test_a_failure_is_its_last_words_or_its_exit_code(script, lines, message):
    script(*lines)
    with pytest.raises(TrainingFailed) as caught:
        train_in_subprocess([], lambda line: None)
    assert str(caught.value) == message


def test_an_interruption_ends_the_training_and_waits_for_it(script, tmp_path):
    marker = tmp_path / "ended"
    script(
        f"trap 'sleep 0.3; touch {marker}; exit 1' TERM",
        "echo started",
        "while true; do sleep 0.05; done",
    )

    def interrupt(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_in_subprocess([], interrupt)
    assert marker.exists()


@pytest.mark.slow
def test_a_real_training_that_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingFailed, match="nowhere: no such dataset directory"):
        train_in_subprocess(["--data=nowhere", "--model=popularity"], lambda line: None)
    assert list(tmp_path.iterdir()) == []
