"""Names that are not UTF-8, loops of symbolic links, and archives that lie about their content."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

from ld4mrec_cli.cli.app import run

CSV = "user,item\n" + "".join(f"{user},{item}\n" for user in range(3) for item in range(3))
BAD = os.fsdecode(b"donn\xe9es")


@pytest.fixture
def refuse(capsys, tmp_path, monkeypatch):
    """Run a command that must be refused with exit code 2 in one line; return the line."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        assert run(list(arguments)) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
        return captured.err

    return call


def test_a_raw_file_whose_name_is_not_utf8_is_refused(refuse, tmp_path):
    (tmp_path / "raw").mkdir()
    try:
        (tmp_path / "raw" / f"{BAD}.csv").write_text(CSV)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert refuse("prepare", "--raw", "raw", "--out", "out", "--k-core", "0") == (
        "error: raw/donn�es.csv: the name is not UTF-8. Rename it\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("prepare", "--raw", "raw", "--out", BAD),
        ("prepare", "--raw", BAD),
        ("train", "--data", BAD),
        ("evaluate", "--run", BAD),
        ("config", "--config", BAD),
    ],
)
def test_an_argument_that_is_not_utf8_is_refused(refuse, arguments):
    assert "donn�es: the name is not UTF-8. Rename it" in refuse(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("prepare", "--raw", "loop", "--out", "x"),
        ("prepare", "--raw", "raw", "--out", "loop"),
        ("train", "--data", "loop"),
        ("evaluate", "--run", "loop"),
        ("recommend", "--run", "loop/x", "--all"),
        ("config", "--config", "loop"),
    ],
)
def test_a_loop_of_links_is_refused(refuse, tmp_path, arguments):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "interactions.csv").write_text(CSV)
    assert "loop" in refuse(*arguments)


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(shape) -> bytes:
    buffer = io.BytesIO()
    values = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, values)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"features": npy(np.ones((3, 2)))}, "its member 'features' is no array"),
        ({"features.npy": b"text"}, "is not a .npz of arrays"),
        ({"features.npy": header((10**9, 10**6))}, "declares 4,000,000,000,000,000 bytes"),
        ({"features.npy": header((3, 2)) + bytes(100_000_000)}, "it expands from"),
        ({"features.npy": npy(np.ones((3, 2))), "readme.txt": b"x"}, "member 'readme.txt'"),
    ],
)
def test_an_archive_that_is_not_of_arrays_is_refused(refuse, tmp_path, features, message):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "interactions.csv").write_text(CSV)
    with zipfile.ZipFile(raw / "image_feat.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ids.npy", npy(np.array(["0", "1", "2"])))
        for name, content in features.items():
            archive.writestr(name, content)
    assert message in refuse("prepare", "--raw", "raw", "--out", "out", "--k-core", "0")
