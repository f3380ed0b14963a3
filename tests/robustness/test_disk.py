"""A full disk is one line with the path that was written, whoever meets it first."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys

import polars as pl
import pytest

from ld4mrec_cli.cli.app import run
from ld4mrec_cli.data.synthetic import SyntheticSize, write_synthetic
from ld4mrec_cli.utils.disk import write_error
from ld4mrec_cli.utils.errors import OutputFailed
from ld4mrec_cli.utils.files import atomic_directory, atomic_file

FULL = "No space left on device"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("disk")
    (root / "raw").mkdir()
    write_synthetic(root / "raw", 0, SyntheticSize(users=90, items=40, interactions_per_user=8))
    assert run(["prepare", "--raw", str(root / "raw"), "--out", str(root / "data")]) == 0
    return root / "data"


def limited(size, *arguments, cwd):
    """Run the command with a limit on the size of the files that it writes."""
    return subprocess.run(
        [sys.executable, "-m", "ld4mrec_cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ld4mrec", "ease"])  # tensors of torch and arrays of numpy
def test_train_names_the_file_that_cannot_be_written(data, tmp_path, model):
    result = limited(3_000, "train", "--data", data, "--model", model, "--run", "r", cwd=tmp_path)
    errors = [line for line in result.stderr.splitlines() if "error: " in line]
    assert result.returncode == 1
    assert len(errors) == 1
    assert "cannot be written (File too large)" in errors[0]
    assert errors[0].startswith("error: r/")
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "r").glob(".*.tmp"))


@pytest.mark.slow
def test_prepare_leaves_nothing_on_a_full_disk(data, tmp_path):
    raw = data.parent / "raw"
    result = limited(600, "prepare", "--raw", raw, "--out", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert result.stderr.endswith("out: cannot be written (File too large)\n")
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_stdout_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "ld4mrec_cli", "config"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == f"error: stdout: cannot be written ({FULL})\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, FULL),
        pl.exceptions.ComputeError(f"{FULL} (os error 28)"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception(f"[enforce fail at inline_container.cc:664] {FULL}"),
    ],
)
def test_a_full_disk_is_recognized(error, tmp_path):
    assert write_error(error) == FULL
    with (
        pytest.raises(OutputFailed, match=rf"x\.npy: cannot be written \({FULL}\)") as caught,
        atomic_file(tmp_path / "x.npy"),
    ):
        raise error
    assert caught.value.exit_code == 1
    with (
        pytest.raises(OutputFailed, match=rf"dir: cannot be written \({FULL}\)"),
        atomic_directory(tmp_path / "dir", overwrite=False, is_replaceable=lambda path: False),
    ):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_other_errors_pass(tmp_path):
    assert write_error(ValueError("os error 2")) is None
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "x"):
        raise ZeroDivisionError
