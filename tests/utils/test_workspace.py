"""What a killed write leaves is undone by the next command, and that of a living process is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from run_files import leave_workspace

from ld4mrec_cli.utils import durable, files, workspace
from ld4mrec_cli.utils.errors import OutputError
from ld4mrec_cli.utils.files import atomic_directory, check_output_directory, write_text
from ld4mrec_cli.utils.locks import locked_file
from ld4mrec_cli.utils.names import is_file_name
from ld4mrec_cli.utils.workspace import is_blank, open_workspace, recover, remove_temporaries

KILLED_WRITE = """
import os, signal, sys
from pathlib import Path
from ld4mrec_cli.utils.files import atomic_directory
original, calls = os.rename, []
def rename(source, target):
    calls.append(source)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    original(source, target)
os.rename = rename
with atomic_directory(Path(sys.argv[1]), overwrite=True, is_replaceable=lambda path: True) as new:
    (new / "new.txt").write_text("new")
os.kill(os.getpid(), signal.SIGKILL)
"""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    ("rename", "content"),
    [(1, "old.txt"), (2, "old.txt"), (3, "new.txt")],
    ids=["before", "between", "after"],
)
def test_a_kill_at_a_rename_leaves_the_old_or_the_new_directory(tmp_path, rename, content):
    target = tmp_path / "da[t]a"
    target.mkdir()
    (target / "old.txt").write_text("old")
    command = [sys.executable, "-c", KILLED_WRITE, str(target), str(rename)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert target.exists() == (rename != 2)
    with pytest.raises(OutputError, match="exists"):
        check_output_directory(target, overwrite=False, is_replaceable=lambda path: True)
    assert names(target) == [content]
    assert names(tmp_path) == ["da[t]a"]


def test_the_next_write_of_a_file_removes_a_dead_workspace(tmp_path):
    leave_workspace(tmp_path / "report.md")
    leave_workspace(tmp_path / "other.md")
    write_text(tmp_path / "report.md", "new")
    assert names(tmp_path) == [".other.md.ab12cd34.tmp", "report.md"]


def test_a_workspace_in_use_is_left_alone(tmp_path):
    target = tmp_path / "report.md"
    with open_workspace(target, tmp_path, target) as path:
        recover(target)
        remove_temporaries(tmp_path)
        write_text(target, "of another process")
        assert path.is_dir()
    assert names(tmp_path) == ["report.md"]


def test_the_lock_file_of_a_dead_process_is_removed_and_a_held_one_stays(tmp_path):
    (tmp_path / ".lock").touch()
    remove_temporaries(tmp_path)
    assert names(tmp_path) == []
    with locked_file(tmp_path / ".lock"):
        remove_temporaries(tmp_path)
        assert names(tmp_path) == [".lock"]
    assert names(tmp_path) == []


def test_a_workspace_without_a_lock_is_removed_if_it_is_empty(tmp_path):
    empty, full = tmp_path / ".data.a1b2c3d4.tmp", tmp_path / ".data.e5f6a7b8.tmp"
    empty.mkdir()
    full.mkdir()
    (full / "data").touch()
    recover(tmp_path / "data")
    assert names(tmp_path) == [full.name]


def test_leftovers_that_cannot_be_locked_are_left_alone(tmp_path, monkeypatch):
    """A run on a read-only file system is still read."""
    leave_workspace(tmp_path / "manifest.json")
    (tmp_path / ".lock").touch()

    def refuse(path, timeout=0.0):
        raise OutputError("cannot be written (Read-only file system)", where=path)

    monkeypatch.setattr(workspace, "locked_file", refuse)
    before = names(tmp_path)
    remove_temporaries(tmp_path)
    assert names(tmp_path) == before


def test_a_workspace_that_another_process_removed_is_made_again(tmp_path, monkeypatch):
    make, calls = workspace._make, []

    def make_and_lose(*arguments):
        path = make(*arguments)
        calls.append(path)
        if len(calls) == 1:
            path.rmdir()
        return path

    monkeypatch.setattr(workspace, "_make", make_and_lose)
    write_text(tmp_path / "report.md", "new")
    assert names(tmp_path) == ["report.md"]


def test_a_link_in_the_place_of_a_workspace_is_not_followed(tmp_path):
    leave_workspace(tmp_path / "elsewhere")
    (tmp_path / "elsewhere-dir").mkdir()
    (tmp_path / "elsewhere-dir" / ".lock").touch()
    (tmp_path / ".data.a1b2c3d4.tmp").symlink_to(tmp_path / "elsewhere-dir")
    recover(tmp_path / "data")
    assert (tmp_path / "elsewhere-dir" / ".lock").exists()


def test_files_of_other_names_are_never_removed(tmp_path):
    for name in (".data.tmp", "data.a1b2c3d4.tmp", ".data.A-1.tmp", ".data.a1b2c3d4.tmp.txt"):
        (tmp_path / name).write_text("mine")
    before = names(tmp_path)
    recover(tmp_path / "data")
    remove_temporaries(tmp_path)
    assert names(tmp_path) == before
    assert not is_blank(tmp_path)


def test_a_directory_with_leftovers_alone_is_blank(tmp_path):
    assert is_blank(tmp_path)
    (tmp_path / ".lock").touch()
    leave_workspace(tmp_path / "manifest.json")
    assert is_blank(tmp_path)
    remove_temporaries(tmp_path)
    assert names(tmp_path) == []


def test_two_writers_without_overwrite_do_not_replace_each_other(tmp_path):
    target = tmp_path / "data"

    def write(content: str) -> None:
        with atomic_directory(target, overwrite=False, is_replaceable=lambda path: True) as new:
            (new / "x").write_text(content)
            if content == "slow":
                write("fast")

    with pytest.raises(OutputError, match="exists"):
        write("slow")
    assert (target / "x").read_text() == "fast"
    assert names(tmp_path) == ["data"]


def test_a_link_of_another_user_is_not_written_through(tmp_path, monkeypatch):
    (tmp_path / "precious").write_text("old")
    (tmp_path / "link").symlink_to("precious")
    owner = (tmp_path / "link").lstat().st_uid
    write_text(tmp_path / "link", "mine")
    assert (tmp_path / "precious").read_text() == "mine"
    os.lchown(tmp_path / "link", 12345, -1) if owner == 0 else monkeypatch.setattr(
        os, "getuid", lambda: owner + 1
    )
    with pytest.raises(OutputError, match="is a symbolic link of another user"):
        write_text(tmp_path / "link", "theirs")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_circle_of_links_is_one_line(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="leads nowhere"):
        write_text(tmp_path / "a", "x")


def test_content_is_flushed_before_it_takes_its_place_and_the_entry_after(tmp_path, monkeypatch):
    events: list[str] = []

    def log(kind):
        def record(path, *rest):
            events.append(f"{kind} {Path(path).name}")
            return original[kind](path, *rest)

        return record

    original = {
        "file": durable.sync_file,
        "directory": durable.sync_directory,
        "replace": os.replace,
        "rename": os.rename,
    }
    for module in (files, durable):
        monkeypatch.setattr(module, "sync_file", log("file"))
        monkeypatch.setattr(module, "sync_directory", log("directory"))
    monkeypatch.setattr(os, "replace", log("replace"))
    monkeypatch.setattr(os, "rename", log("rename"))
    write_text(tmp_path / "x.txt", "content")
    assert events == ["file x.txt", "replace x.txt", f"directory {tmp_path.name}"]
    events.clear()
    with atomic_directory(tmp_path / "d", overwrite=False, is_replaceable=bool) as new:
        (new / "sub").mkdir()
        (new / "sub" / "y").write_text("content")
    assert events == [
        "file y",
        "directory sub",
        "directory d",
        "rename d",
        f"directory {tmp_path.name}",
    ]


@pytest.mark.parametrize("name", ["data", "my data", "v[1]", "Früchte", "..data", ".hidden", "a:b"])
def test_usual_names_are_names(name):
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../x", "/etc", "a/b", "a\\b", "a\nb", "a\x1b[2J", "\u202eab", "a\0"]
)
def test_names_that_leave_the_directory_are_refused(name):
    assert not is_file_name(name)


KILLED_REMOVAL = """
import os, shutil, signal, sys
from pathlib import Path
from ld4mrec_cli.utils.files import atomic_directory
original = shutil.rmtree
def rmtree(path, **options):
    os.kill(os.getpid(), signal.SIGKILL)
shutil.rmtree = rmtree
with atomic_directory(Path(sys.argv[1]), overwrite=True, is_replaceable=lambda path: True) as new:
    (new / "new.txt").write_text("new")
"""


@pytest.mark.slow
def test_a_kill_while_the_old_directory_is_removed_leaves_nothing_for_good(tmp_path):
    target = tmp_path / "data"
    target.mkdir()
    (target / "old.txt").write_text("old")
    subprocess.run([sys.executable, "-c", KILLED_REMOVAL, target], check=False)
    assert [path.name for path in target.iterdir()] == ["new.txt"]
    assert len(names(tmp_path)) == 2
    recover(target)
    assert names(tmp_path) == ["data"]


def test_an_interrupt_while_the_old_directory_is_removed_leaves_nothing_for_good(
    tmp_path, monkeypatch
):
    target = tmp_path / "data"
    target.mkdir()
    (target / "old.txt").write_text("old")

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    def overwrite() -> None:
        with atomic_directory(target, overwrite=True, is_replaceable=lambda path: True) as new:
            (new / "new.txt").write_text("new")
            monkeypatch.setattr(workspace.shutil, "rmtree", interrupt)

    with pytest.raises(KeyboardInterrupt):
        overwrite()
    assert names(target) == ["new.txt"]
    (left,) = set(names(tmp_path)) - {"data"}
    assert (tmp_path / left / ".lock").exists(), "without a lock file it would be nobody's"
    with pytest.raises(KeyboardInterrupt):
        recover(target)  # again
    monkeypatch.undo()
    recover(target)
    assert names(tmp_path) == ["data"]
    assert names(target) == ["new.txt"]
