from __future__ import annotations

import pytest
from raw_files import assert_rejected

from ld4mrec_cli.data import readers
from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.settings.layouts import LAYOUTS, Layout, list_layouts

CSV = "interactions.csv"
OK = "user,item,rating,timestamp\na,x,5,1\n"


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "the directory is empty"),
        ({"notes.txt": "hello"}, "no known layout among: notes.txt"),
        ({"a.csv": OK, "b.csv": OK}, "no known layout among: a.csv, b.csv"),
        ({CSV: OK, "x.inter": "userID\titemID\n1\t2\n"}, "fits mmrec and table"),
        ({CSV: OK, "reviews.json": [{}]}, "fits amazon and table"),
        ({CSV: OK, "interactions.tsv": "user\titem\na\tx\n"}, "several interaction tables"),
    ],
)
def test_an_unclear_directory_is_refused(rejects, files, what):
    rejects(files, "raw: ", what)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_is_not_there_is_refused(rejects, layout):
    rejects({"notes.txt": "hello"}, "raw: ", format=layout)


def test_a_raw_path_must_be_a_directory(tmp_path):
    (tmp_path / "file").write_text("x")
    assert_rejected(lambda: read_source(tmp_path / "file", PrepareConfig()), "file: is a file")
    assert_rejected(
        lambda: read_source(tmp_path / "nowhere", PrepareConfig()), "nowhere: no such directory"
    )


@pytest.mark.parametrize("name", ["log.csv", "clicks 2024.tsv"])
def test_the_only_table_is_taken_whatever_its_name(read, name):
    content = OK.replace(",", "\t") if name.endswith(".tsv") else OK
    data = read({name: content, "items.csv": "item\nx\n"})
    assert data.interactions.rows() == [("a", "x", 5.0, 1)]


def test_messages_and_documentation_name_every_layout(rejects, request):
    message = rejects({"notes.txt": "hello"}, f"--format {list_layouts()}")
    documentation = (request.config.rootpath / "docs" / "data.md").read_text(encoding="utf-8")
    for layout in LAYOUTS:
        assert layout in message
        assert f"| `{layout}` |" in documentation
        assert f"(`--format {layout}`)" in documentation


def test_a_layout_is_its_module_and_a_line_in_the_table(raw, tmp_path, monkeypatch):
    module = """
from ld4mrec_cli.data.readers.base import RawData
import polars as pl

def fits(raw):
    return (raw / "plays.log").is_file()

def read(raw, context):
    rows = [line.split() for line in (raw / "plays.log").read_text().splitlines()]
    table = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    return RawData("plays", table, lambda _: table.select("item").unique(), {}, [raw / "plays.log"])
"""
    (tmp_path / "plays.py").write_text(module)
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path)])
    monkeypatch.setitem(LAYOUTS, "plays", Layout("plays.log", "plays"))
    directory = raw({"plays.log": "a x\nb y\n"})
    for name in ("auto", "plays"):
        data = read_source(directory, PrepareConfig(format=name))
        assert data.format == "plays"
        assert data.interactions.rows() == [("a", "x"), ("b", "y")]
