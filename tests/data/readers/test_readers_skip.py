"""Malformed lines of tables, left out and counted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_files import assert_rejected, fill

from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.data.readers.context import SHOWN_BAD_LINES, ReadContext
from ld4mrec_cli.settings.data import PrepareConfig

CSV = "interactions.csv"
HEAD = "user,item,rating,timestamp,split\n"
BAD = {
    "b,y\n": "2 fields where the header has 5",
    "b,y,4,2,test,6\n": "6 fields where the header has 5",
    "b,y,abc,2,test\n": "'abc' in column 'rating'",
    "b,y,inf,2,test\n": "'inf' in column 'rating'",
    "b,y,,2,test\n": "no value in column 'rating'",
    ",y,4,2,test\n": "no value in column 'user'",
    "b,  ,4,2,test\n": "no value in column 'item'",
    "b,y,4,noon,test\n": "'noon' in column 'timestamp'",
    "b,y,4,2,both\n": "'both' in column 'split'",
    ",,,,\n": "no value in any column",
    'b,"y"y,4,2,test\n': "malformed line",
}


@pytest.fixture
def skim(raw):
    """Read a raw directory, leaving malformed lines out: the data and the context."""

    def run(files, **options):
        context = ReadContext(PrepareConfig(on_error="skip", **options))
        return read_source(raw(files), context.options, context), context

    return run


@pytest.mark.parametrize("line", BAD)
def test_each_kind_of_malformed_line_is_left_out_and_named(skim, line):
    data, context = skim({CSV: HEAD + "a,x,5,1,train\n" + line + "c,z,3,9,test\n"})
    assert data.interactions.rows() == [("a", "x", 5.0, 1, 0), ("c", "z", 3.0, 9, 2)]
    assert context.n_bad_lines == len(context.bad_lines) == 1
    assert f"{CSV}:3: " in context.bad_lines[0]
    assert BAD[line] in context.bad_lines[0]
    assert "--on-error" not in context.bad_lines[0]


@pytest.mark.parametrize("line", BAD)
def test_raise_is_the_default(rejects, line):
    rejects({CSV: HEAD + "a,x,5,1,train\n" + line}, f"{CSV}:3: ", BAD[line])


def test_lines_are_numbered_past_those_left_out(skim):
    _, context = skim(
        {CSV: HEAD + "\n" + "".join(BAD) + '"a\na",x,5,1,train\n' + "c,z,bad,9,test\n"}
    )
    lines = sorted(int(fault.split(f"{CSV}:")[1].split(":")[0]) for fault in context.bad_lines)
    assert len(lines) == SHOWN_BAD_LINES
    assert context.n_bad_lines == len(BAD) + 1
    _, context = skim({CSV: HEAD + "b,y\n" + '"a\na",x,5,1,train\n' + "c,z,bad,9,test\n"})
    assert [fault.split(f"{CSV}:")[1].split(":")[0] for fault in context.bad_lines] == ["2", "5"]


def test_one_more_than_max_errors_is_an_error_that_names_the_last(raw, skim):
    files = {CSV: HEAD + "a,x,5,1,train\n" + "b,y,abc,2,test\n" * 3}
    assert skim(files, max_errors=3)[1].n_bad_lines == 3
    options = PrepareConfig(on_error="skip", max_errors=2)
    assert_rejected(
        lambda: read_source(raw(files), options), "more than 2 malformed lines", f"{CSV}:5: 'abc'"
    )
    options = PrepareConfig(on_error="skip", max_errors=0)
    assert_rejected(
        lambda: read_source(raw(files), options), "more than 0 malformed lines", f"{CSV}:3: "
    )


@pytest.mark.parametrize(
    "content",
    [
        "user,item\r\na,x\r\nb\r\nb,y\r\n",
        "\ufeffuser,item\nb\na,x\nb,y",
        "\n\nuser,item\n\na,x\n,,\n\nb,y\n\n",
        "user,item\nb,y,z\n a ,x \nb,y\n",
        '"user","item"\n"a","x"\n"b\n"b",y\n',
        'user,item\na,x\nz,"open\nb,y\n',
    ],
    ids=["crlf", "bom", "blank lines", "spaces", "quotes", "a quote left open"],
)
def test_spellings_of_one_csv(skim, content):
    data, context = skim({CSV: content})
    assert data.interactions.rows() == [("a", "x"), ("b", "y")]
    assert context.n_bad_lines == 1


def test_a_file_of_malformed_lines_alone_holds_nothing(raw):
    options = PrepareConfig(on_error="skip")
    for lines in ("b\n" * 3, "b,\n" * 3):
        assert_rejected(
            lambda lines=lines: read_source(raw({CSV: "user,item\n" + lines}), options),
            "no interaction",
        )


def test_parquet_rows_without_an_id_are_left_out(skim):
    table = pl.DataFrame({"user": ["a", None, "c"], "item": ["x", "y", "z"]})
    data, context = skim({"interactions.parquet": table})
    assert data.interactions.rows() == [("a", "x"), ("c", "z")]
    assert "row 2: no value in column 'user'" in context.bad_lines[0]


def test_items_without_an_id_are_left_out(skim):
    items = 'item,title\nx,"two\nlines"\n,no id\ny\nz,last\n'
    data, context = skim({CSV: "user,item\na,x\n", "items.csv": items})
    assert data.items.rows() == [("x", "two\nlines"), ("z", "last")]
    assert [fault.split("items.csv:")[1][0] for fault in context.bad_lines] == ["5", "4"]


def test_what_is_no_line_is_an_error_still(raw):
    options = PrepareConfig(on_error="skip")
    for content, what in [
        (b"user,item\na,\xff\n", "not UTF-8"),
        (b"user,user\na,b\n", "twice"),
        (b"", "is empty"),
        (b"user,thing\na,b\n", "no item column"),
    ]:
        assert_rejected(
            lambda content=content: read_source(raw({CSV: content}), options), CSV, what
        )


word = st.text(st.sampled_from("abcäß '"), min_size=1, max_size=4).map(str.strip).filter(bool)
good = st.tuples(
    word,
    word,
    st.floats(-5, 5).map(lambda value: f"{value:.2f}"),
    st.sampled_from(["train", "test"]),
)


@pytest.mark.slow
@given(
    rows=st.lists(good, min_size=1, max_size=12),
    bad=st.lists(st.tuples(st.integers(0, 12), st.sampled_from(list(BAD))), max_size=8),
    quotes=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_the_same_rows_are_kept_as_of_a_clean_file(rows, bad, quotes, end, mark):
    fields = [
        [f'"{value}"' if quotes else value for value in (user, item, rating, "7", label)]
        for user, item, rating, label in rows
    ]
    lines = [",".join(row) + "\n" for row in fields]
    spoiled = list(lines)
    for place, line in bad:
        spoiled.insert(min(place, len(spoiled)), line)
    with tempfile.TemporaryDirectory() as folder:
        tables = []
        for name, content in (("clean", lines), ("spoiled", spoiled)):
            text = mark + (HEAD + "".join(content)).replace("\n", end)
            context = ReadContext(PrepareConfig(on_error="raise" if name == "clean" else "skip"))
            tables.append(
                read_source(
                    fill(Path(folder) / name, {CSV: text}), context.options, context
                ).interactions
            )
    assert tables[0].equals(tables[1])
    assert context.n_bad_lines == len(bad)


def test_prepare_counts_and_records_what_was_left_out(raw, tmp_path):
    rows = "".join(f"u{user},i{item}\n" for user in range(8) for item in range(8))
    clean = prepare(raw({CSV: "user,item\n" + rows}), tmp_path / "clean", PrepareConfig())
    directory = raw({CSV: "user,item\nu1\n" + rows + "u2,\nu3,x,y\n"})
    told = prepare(directory, tmp_path / "out", PrepareConfig(on_error="skip"))
    assert told.left_out == told.schema.provenance["left_out"] == {"malformed lines": 3}
    assert len(told.bad_lines) == 3
    assert clean.left_out == {}
    for name in ("train.parquet", "items.parquet"):
        assert (tmp_path / "clean" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
