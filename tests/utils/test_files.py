from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from raw_files import fill, snapshot

from ld4mrec_cli.utils.errors import OutputError
from ld4mrec_cli.utils.files import atomic_directory, atomic_file, sha256, write_json, write_text


def ours(path: Path) -> bool:
    return (path / "mark").exists()


def write_directory(
    path: Path, content: str, *, overwrite: bool = False, fail: bool = False
) -> None:
    with atomic_directory(path, overwrite=overwrite, is_replaceable=ours) as temporary:
        fill(temporary, {"mark": content})
        if fail:
            raise RuntimeError("halfway")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_whole_and_readable(tmp_path):
    path = tmp_path / "report.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert names(tmp_path) == ["report.txt"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "report.txt"
    write_text(path, "old")
    with pytest.raises(TypeError), atomic_file(path) as temporary:
        temporary.write_text(b"no text")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["report.txt"]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    for path, what in ((tmp_path, "is a directory"), (tmp_path / "no" / "x", "cannot be written")):
        with pytest.raises(OutputError, match=what):
            write_text(path, "x")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not names(tmp_path)


def test_json_is_readable_text(tmp_path):
    write_json(tmp_path / "x.json", {"name": "Früchte", "k": [1, 2]})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "Früchte" in text
    assert json.loads(text) == {"name": "Früchte", "k": [1, 2]}


def test_the_hash_is_the_usual_one(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert (
        sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_directory_appears_whole_with_its_parents(tmp_path):
    path = tmp_path / "a" / "b"
    with atomic_directory(path, overwrite=False, is_replaceable=ours) as temporary:
        fill(temporary, {"mark": "x"})
        assert not path.exists()
    assert names(path) == ["mark"]
    assert names(tmp_path / "a") == ["b"]


def test_a_failure_leaves_no_directory(tmp_path):
    with pytest.raises(RuntimeError):
        write_directory(tmp_path / "out", "x", fail=True)
    assert not names(tmp_path)


def test_an_empty_directory_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    write_directory(tmp_path / "out", "x")
    assert snapshot(tmp_path).keys() == {"out/mark"}


def test_an_existing_directory_needs_overwrite(tmp_path):
    write_directory(tmp_path / "out", "old")
    with pytest.raises(OutputError, match=r"out: exists.*--overwrite"):
        write_directory(tmp_path / "out", "new")
    assert (tmp_path / "out" / "mark").read_text() == "old"
    with pytest.raises(RuntimeError):
        write_directory(tmp_path / "out", "new", overwrite=True, fail=True)
    assert (tmp_path / "out" / "mark").read_text() == "old"
    write_directory(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "mark").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_what_is_not_ours_is_never_replaced(tmp_path):
    fill(tmp_path / "photos", {"cat.jpg": "meow"})
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = snapshot(tmp_path)
    for name, what in (
        ("photos", "not written by ld4mrec"),
        ("file", "not a directory"),
        ("dangling", "not a dir"),
    ):
        with pytest.raises(OutputError, match=f"{name}: .*{what}"):
            write_directory(tmp_path / name, "x", overwrite=True)
    assert snapshot(tmp_path) == before
    assert names(tmp_path) == ["dangling", "file", "photos"]


def test_a_parent_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_directory(tmp_path / "file" / "out", "x")


def test_the_working_directory_cannot_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match="is the working directory"):
        write_directory(Path("."), "x")
    assert not names(Path("."))


def test_a_replacement_that_fails_puts_the_old_directory_back(tmp_path, monkeypatch):
    write_directory(tmp_path / "out", "old")
    rename = os.rename

    def refuse_new(source, target):
        if Path(source).parent.name.endswith(".tmp"):
            raise OSError(16, "Device or resource busy")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_new)
    with pytest.raises(OutputError, match="busy"):
        write_directory(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out" / "mark").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_an_interruption_between_the_renames_keeps_the_old_directory(tmp_path, monkeypatch):
    target = tmp_path / "data"
    target.mkdir()
    (target / "old.txt").write_text("old")
    original, calls = os.rename, []

    def rename(source, destination):
        calls.append(destination)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(source, destination)

    monkeypatch.setattr(os, "rename", rename)
    with (
        pytest.raises(KeyboardInterrupt),
        atomic_directory(target, overwrite=True, is_replaceable=lambda path: True) as temporary,
    ):
        (temporary / "new.txt").write_text("new")
    assert (target / "old.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
