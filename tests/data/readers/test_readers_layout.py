from __future__ import annotations

import pytest
from raw_files import assert_rejected

from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.settings.data import PrepareConfig

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


@pytest.mark.parametrize("layout", ["mmrec", "amazon", "recbole", "table"])
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
