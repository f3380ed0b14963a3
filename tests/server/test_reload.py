"""A newer run is served without dropping a request; a bad one changes nothing."""

from __future__ import annotations

import os
import shutil
import threading

import pytest
from run_files import edit_manifest
from shop import running, train_model, wait_until

from ld4mrec_cli.server import run_source
from ld4mrec_cli.server.run_source import RunSource
from ld4mrec_cli.server.served_run import ServedRun
from ld4mrec_cli.server.settings import Limits, ServerSettings
from ld4mrec_cli.utils.errors import RunError


@pytest.fixture
def place(tmp_path, monkeypatch, run):
    """A working directory with two runs, ``runs/latest`` pointing at the first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("first", "second"):
        shutil.copytree(run, tmp_path / "runs" / name)
    point(tmp_path, "first")
    return tmp_path


def point(place, name):
    """Let ``runs/latest`` point at a run, as training does."""
    link = place / "new"
    link.symlink_to(name, target_is_directory=True)
    os.replace(link, place / "runs" / "latest")


class Watched:
    """A source and the lines that it says."""

    def __init__(self, path=None):
        self.lines = []
        self.source = RunSource(path, lambda found: ServedRun(found, "cpu", None), self.log)

    def log(self, text):
        self.lines.append(text)

    def poll(self, times=1):
        for _ in range(times):
            self.source.poll()
        return self.source.current.name


def test_a_newer_run_is_served(place):
    watched = Watched()
    assert watched.poll(2) == "first"
    assert watched.lines == []
    point(place, "second")
    assert watched.poll() == "second"
    assert watched.lines == [f"now serves {place / 'runs' / 'second'} instead of first"]
    assert watched.poll(2) == "second"
    assert watched.source.n_reloads == {"done": 1, "failed": 0}


@pytest.mark.parametrize("name", ["weights.safetensors", "users.parquet", "manifest.json"])
def test_a_damaged_run_changes_nothing(place, name):
    watched = Watched()
    path = place / "runs" / "second" / name
    path.write_bytes(path.read_bytes()[:-3] + b"abc")
    point(place, "second")
    assert watched.poll(3) == "first"
    (line,) = watched.lines
    assert line.startswith(f"still serves first: {place / 'runs' / 'second'}")
    assert line == f"still serves first: {watched.source.error}"
    assert watched.source.current.recommender.recommend("user1").items


def test_a_run_whose_files_are_on_the_way_is_tried_again(place, monkeypatch):
    monkeypatch.setattr(run_source, "RETRY_POLLS", 3)
    watched = Watched()
    path = place / "runs" / "second" / "weights.safetensors"
    hidden = path.rename(place / "weights")
    point(place, "second")
    assert watched.poll(2) == "first"
    hidden.rename(path)
    assert watched.poll(3) == "second"
    assert watched.source.error is None


@pytest.mark.parametrize("status", ["running", "interrupted", "diverged"])
def test_an_unfinished_run_waits_until_it_is_complete(place, status):
    watched = Watched(place / "runs" / "first")
    edit_manifest(place / "runs" / "first", lambda values: values.update(status=status))
    loaded = watched.source.current
    assert watched.poll(2) == "first"
    assert watched.source.current is loaded
    assert watched.source.error.endswith("this run is not complete")
    edit_manifest(place / "runs" / "first", lambda values: values.update(status="complete"))
    watched.poll()
    assert watched.source.current is not loaded


def test_a_run_that_vanishes_stays_served(place):
    watched = Watched(place / "runs" / "first")
    shutil.move(place / "runs" / "first", place / "away")
    assert watched.poll(3) == "first"
    assert len(watched.lines) == 1
    assert watched.source.current.recommender.similar("item1", 2).items
    shutil.move(place / "runs" / "second", place / "runs" / "first")
    watched.poll()
    assert watched.source.error is None


def test_there_must_be_a_run_at_the_start(place):
    (place / "runs" / "latest").unlink()
    with pytest.raises(RunError, match="there is no last run"):
        Watched()


def test_a_bug_while_a_run_is_loaded_does_not_end_the_watch(place):
    watched = Watched()

    def fail(path):
        raise ZeroDivisionError

    watched.source._load = fail
    point(place, "second")
    assert watched.poll() == "first"
    assert "ZeroDivisionError" in watched.source.error


@pytest.mark.slow
def test_no_request_is_dropped_while_runs_change(shop, place):
    """Two runs take turns; every answer is whole and of one of them."""
    train_model(shop / "data", place / "runs" / "third", "popularity")
    point(place, "first")  # training has pointed it at the third
    expected = {}
    for name in ("first", "third"):
        recommender = ServedRun(place / "runs" / name, "cpu", None).recommender
        expected[name] = [entry.item for entry in recommender.recommend("user1", k=5).items]
    assert expected["first"] != expected["third"]
    settings = ServerSettings(Limits(workers=2), reload_seconds=0.02)
    found, stop = [], threading.Event()
    with running(place / "unused", settings, Watched().source) as started:

        def ask():
            while not stop.is_set():
                found.append(started.client.recommend(users=["user1"], k=5))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for n in range(1, 5):
                point(place, "third" if n % 2 else "first")
                wait_until(lambda n=n: started.source.n_reloads["done"] == n)
        finally:
            stop.set()
            for client in clients:
                client.join()
    assert {answer.status for answer in found} == {200}
    served = [answer.json for answer in found]
    assert {answer["run"] for answer in served} == {"first", "third"}
    for answer in served:
        assert [one["item"] for one in answer["lists"][0]["items"]] == expected[answer["run"]]
