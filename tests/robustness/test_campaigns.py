"""A small part of each campaign of ``examples/robustness``; the whole is run by hand."""

from __future__ import annotations

import random

import pytest
from craft import craft_all
from events import stop_at_events
from fuzz_readers import fuzz, make_cases
from kills import kill_at_random
from scenarios import make_scenarios
from tamper import tamper

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


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing(tmp_path):
    prepare, _, train, *_ = make_scenarios(tmp_path / "root")
    counts = kill_at_random(train, 1, tmp_path / "work", random.Random(0))
    assert (counts.tries, counts.examples) == (1, [])
    counts = stop_at_events(prepare, tmp_path / "work", "kill", every=40)
    assert counts.tries > 1
    assert counts.examples == []
