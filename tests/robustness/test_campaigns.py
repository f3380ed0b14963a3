"""A small part of each campaign of ``examples/robustness``; the whole is run by hand."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from craft import craft_all
from events import run_with_events, stop_at_events
from fork_server import INJECT, ForkServer
from fuzz_readers import fuzz, make_cases
from kills import kill_at_random
from scenarios import Counts, make_scenarios, run_campaign, start
from tamper import tamper

import ld4mrec_cli

CASES = make_cases()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_mutated_raw_files_are_refused_or_read(name, tmp_path):
    tally = fuzz(name, CASES[name], inputs=6, seed=1, where=tmp_path)
    assert tally.bugs == []
    assert tally.counts.total() == 6


def test_the_unchanged_folders_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("fuzz_readers.mutate", lambda content, rng: content)
    for name, folder in CASES.items():
        assert fuzz(name, folder, 1, 0, tmp_path).counts == {"ok": 1}, name


@pytest.mark.slow
def test_tampering_changes_no_result_silently(tmp_path):
    tally = tamper(30, 1, tmp_path, models=("itemknn", "bpr"))
    assert tally.bugs == []
    assert tally.counts["refused"] > 5


@pytest.mark.slow
def test_crafted_directories_are_refused_or_harmless(tmp_path):
    tally = craft_all(tmp_path, models=("ld4mrec", "itemknn"), every=23)
    assert tally.bugs == []
    assert tally.counts["refused"] > 50


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory):
    return make_scenarios(tmp_path_factory.mktemp("scenarios"))


@pytest.fixture(scope="module")
def server():
    with ForkServer.start() as server:
        yield server


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing(scenarios, tmp_path):
    counts = Counts()
    kill_at_random(scenarios[2], 1, tmp_path / "work", random.Random(0), counts)
    assert (counts.tries, counts.examples) == (1, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "kind"), enumerate(["interrupt", "kill", "kill", "interrupt", "kill"])
)
def test_a_stop_at_an_event_loses_nothing(number, kind, scenarios, server, tmp_path):
    counts = Counts()
    stop_at_events(server, scenarios[number], tmp_path / "work", kind, slice(45, 46), counts)
    assert (counts.tries, counts.examples) == (1, [])


@pytest.mark.slow
def test_a_fork_counts_the_events_of_a_true_start(scenarios, server, tmp_path):
    """The forked command has the events, the output and the result of ``python -m ld4mrec_cli``."""
    prepare, work, report = scenarios[0], tmp_path / "work", tmp_path / "n"
    found = []
    for is_forked in (True, False):
        prepare.set_up(work)
        if is_forked:
            code, output, n_events = run_with_events(server, prepare, work, 0, "kill")
        else:
            environment = {
                "PYTHONPATH": f"{INJECT}:{Path(ld4mrec_cli.__path__[0]).parent}",
                "LD4MREC_EVENTS_ROOT": str(work),
                "LD4MREC_EVENTS_REPORT": str(report),
            }
            process = start(prepare.command, work, environment)
            output, code = process.communicate()[0], process.returncode
            n_events = int(report.read_text())
        lines = [line for line in output.splitlines() if " s" not in line]
        found.append((code, n_events, lines, prepare.result(work)))
    assert found[0] == found[1]
    assert found[0][1] > 30


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_campaign_that_is_stopped_prints_its_counts(how, capsys):
    def interrupt(scenario, work, counts):
        counts.tries = 3
        os.kill(os.getpid(), how)
        time.sleep(5)

    earlier = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match="1"):
            run_campaign("train", interrupt)
    finally:
        signal.signal(signal.SIGINT, earlier[0])
        signal.signal(signal.SIGTERM, earlier[1])
    counts = "train: tries 3, corrupt 0, silent 0, tracebacks 0, leftovers 0 (stopped)\n"
    assert capsys.readouterr().out == counts
