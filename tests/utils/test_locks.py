"""A lock belongs to one process, ends with it, and never writes through a link."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from ld4mrec_cli.utils.errors import OutputError
from ld4mrec_cli.utils.locks import is_locked, locked_file

HOLDER = """
import sys, time
from pathlib import Path
from ld4mrec_cli.utils.locks import locked_file
with locked_file(Path(sys.argv[1])) as is_held:
    print(is_held, flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_once_and_its_file_is_removed(tmp_path):
    path = tmp_path / ".lock"
    with locked_file(path) as first:
        with locked_file(path) as second:
            assert (first, second) == (True, False)
        assert is_locked(path)
    assert not is_locked(path)
    assert not any(tmp_path.iterdir())


def test_a_kill_releases_the_lock(tmp_path):
    path = tmp_path / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert is_locked(path)
        holder.kill()
    assert path.exists()
    with locked_file(path) as is_held:
        assert is_held
    assert not path.exists()


def test_a_waiting_process_does_not_wait_long(tmp_path):
    with locked_file(tmp_path / ".lock"):
        start = time.monotonic()
        with locked_file(tmp_path / ".lock") as is_held:
            assert not is_held
        assert time.monotonic() - start < 2.0


def test_a_link_at_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("old")
    for name, target in (("there", "precious"), ("dangling", "nowhere")):
        (tmp_path / name).symlink_to(tmp_path / target)
        with pytest.raises(OutputError, match="is a symbolic link"), locked_file(tmp_path / name):
            pass
        assert not is_locked(tmp_path / name)
    assert (tmp_path / "precious").read_text() == "old"
    assert not (tmp_path / "nowhere").exists()


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be"), locked_file(tmp_path / "file" / "x"):
        pass
    with pytest.raises(OutputError, match="cannot be written"), locked_file(tmp_path):
        pass
