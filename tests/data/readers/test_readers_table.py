from __future__ import annotations

import tempfile
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_files import fill

from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.settings.data import PrepareConfig

CSV = "interactions.csv"
OK = "user,item,rating,timestamp\na,x,5,1\n"

ids = (
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
    .map(str.strip)
    .filter(bool)
)
id_pairs = st.lists(st.tuples(ids, ids), min_size=1, max_size=12)


def pairs(interactions: pl.DataFrame) -> list[tuple[str, str]]:
    return interactions.select("user", "item").rows()


@given(rows=id_pairs, suffix=st.sampled_from(["csv", "parquet"]))
def test_any_ids_come_back_from_quoted_csv_and_parquet(rows, suffix):
    table = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"interactions.{suffix}"
        table.write_csv(path, quote_style="always") if suffix == "csv" else table.write_parquet(
            path
        )
        assert pairs(read_source(Path(name), PrepareConfig()).interactions) == rows


@pytest.mark.parametrize(
    "content",
    [
        "user,item\na,x\nb,y\n",
        "user,item\r\na,x\r\nb,y\r\n",
        "\ufeffuser,item\na,x\nb,y",
        "\n\nuser,item\n\na,x\n\n\nb,y\n\n",
        "user,item\r\n\r\na,x\r\n\r\nb,y\r\n\r\n",
        "user,item\n a ,x \nb,y\n",
        '"user","item"\n"a","x"\n"b",y\n',
    ],
    ids=["plain", "crlf", "bom", "blank lines", "blank crlf lines", "spaces", "quotes"],
)
def test_spellings_of_one_csv(read, content):
    assert pairs(read({CSV: content}).interactions) == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize(
    "header", ["user_id,item_id", "userID,itemID", "reviewerID,asin", "uid,product", "User,Item"]
)
def test_usual_column_names_are_known(read, header):
    assert pairs(read({CSV: f"{header}\na,x\n"}).interactions) == [("a", "x")]


def test_columns_can_be_named(read):
    data = read({CSV: "who,what,user\na,x,zzz\n"}, columns={"user": "who", "item": "what"})
    assert pairs(data.interactions) == [("a", "x")]


def test_a_tsv_keeps_quotes_as_they_are(read):
    assert pairs(read({"interactions.tsv": 'user\titem\n"a\tx"\n'}).interactions) == [('"a', 'x"')]


def test_a_directory_name_is_no_pattern(tmp_path):
    for name, content in (
        (CSV, OK),
        ("interactions.parquet", pl.DataFrame({"user": ["a"], "item": ["x"]})),
    ):
        directory = fill(tmp_path / f"raw [{name}]*", {name: content})
        assert pairs(read_source(directory, PrepareConfig()).interactions) == [("a", "x")]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1700000000", 1_700_000_000),
        ("1.7e9", 1_700_000_000),
        ("2023-11-14", 1_699_920_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000),
        ("2023-11-14 22:13", 1_699_999_980),
        ("1700000000000000001", 1_700_000_000_000_000_001),
    ],
)
def test_timestamps_of_text(read, written, seconds):
    assert read({CSV: f"user,item,timestamp\na,x,{written}\n"}).interactions[
        "timestamp"
    ].to_list() == [seconds]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (datetime(2023, 11, 14, 22, 13, 20), 1_700_000_000),
        (datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), 1_700_000_000),
        (date(2023, 11, 14), 1_699_920_000),
        (1_700_000_000_000_000_001, 1_700_000_000_000_000_001),
        (1.5, 1.5),
    ],
)
def test_timestamps_of_parquet(read, value, seconds):
    table = pl.DataFrame({"user": ["a"], "item": [7], "timestamp": [value]})
    data = read({"interactions.parquet": table}).interactions
    assert data["timestamp"].to_list() == [seconds]
    assert data["item"].to_list() == ["7"]


def test_labels_have_several_spellings(read):
    lines = "".join(
        f"u{n},x,{label}\n"
        for n, label in enumerate(["0", "train", "1", "Val", "valid", "2", "TEST"])
    )
    assert read({CSV: f"user,item,split\n{lines}"}).interactions["split"].to_list() == [
        0,
        0,
        1,
        1,
        1,
        2,
        2,
    ]


HEAD = "user,item,rating,timestamp,split\na,x,5,1,train\n"


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (HEAD + "b,y,4\n", 3, "3 fields where the header has 5"),
        (HEAD + "b,y,4,2,test,6\n", 3, "6 fields where the header has 5"),
        (HEAD + "\n\nb,y,4\n", 5, "3 fields"),
        (HEAD + "\n\nb,y,abc,4,test\n", 5, "'abc'"),
        (HEAD + ",y,4,2,test\n", 3, "no value in column 'user'"),
        (HEAD + "b,  ,4,2,test\n", 3, "'item'"),
        (HEAD + ",,,,\n", 3, "no value"),
        (HEAD + "b,y,abc,2,test\n", 3, "'abc' in column 'rating' is not a finite number"),
        (HEAD + "b,y,nan,2,test\n", 3, "'nan' in column 'rating'"),
        (HEAD + "b,y,inf,2,test\n", 3, "'inf' in column 'rating'"),
        (HEAD + "b,y,,2,test\n", 3, "no value in column 'rating'"),
        (HEAD + "b,y,4,noon,test\n", 3, "'noon' in column 'timestamp'"),
        (HEAD + "b,y,4,1e300,test\n", 3, "'1e300' in column 'timestamp'"),
        (HEAD + "b,y,4,2,both\n", 3, "'both' in column 'split' is not one of"),
        (HEAD + "b,\0,4,2,test\n", 3, "NUL"),
        ((HEAD + "b,ÿ,4,2,test\n").encode("latin-1"), 3, "not UTF-8"),
        ("user,item,ÿ\na,x,1\n".encode("latin-1"), 1, "not UTF-8"),
        (HEAD + 'b,"y,4,2,test\nc,z,4,2,test\n', 3, "malformed"),
        (HEAD + 'b,"y"y,4,2,test\n', 3, "malformed"),
        (HEAD + '"b\nb",y,4,2,test\nc,z,abc,2,test\n', 5, "'abc'"),
        (HEAD + '"b\nb",y,abc,2,test\n', 3, "'abc'"),
        (HEAD.replace("\n", "\r\n") + "b,y,abc,2,test\r\n", 3, "'abc'"),
        ("\ufeff" + HEAD + "b,y,abc,2,test\n", 3, "'abc'"),
        (HEAD + "a,x,5,1,train\n" * 5000 + "b,y,abc,2,test\n", 5003, "'abc'"),
    ],
)
def test_a_malformed_line_is_named(rejects, content, line, what):
    rejects({CSV: content}, f"{CSV}:{line}: ", what)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "is empty"),
        ("\ufeff", "is empty"),
        ("\n\n", "is empty"),
        ("user,item\n", "holds no interaction"),
    ],
)
def test_a_table_without_interactions_is_refused(rejects, content, what):
    rejects({CSV: content}, CSV, what)


def test_a_missing_column_is_named_with_those_there_are(rejects):
    rejects({CSV: "who,item\na,x\n"}, CSV, "no user column", "who, item", "prepare.columns")
    rejects(
        {CSV: "customers,item\na,x\n"},
        "no column 'customer'",
        "'customers'",
        columns={"user": "customer"},
    )


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("user", ["a"]),
        ("item", {"id": 1}),
        ("user", b"\xff"),
        ("rating", [1.0]),
        ("timestamp", timedelta(1)),
        ("timestamp", time(1)),
        ("split", ["train"]),
    ],
)
def test_parquet_columns_of_an_odd_type_are_named(rejects, column, value):
    table = pl.DataFrame({"user": ["a"], "item": ["x"]}).with_columns(pl.Series(column, [value]))
    rejects({"interactions.parquet": table}, "interactions.parquet", f"column '{column}' holds")


def test_a_bad_parquet_row_is_counted_from_one(rejects):
    table = pl.DataFrame({"user": ["a", "b", None], "item": ["x", "y", "z"]})
    rejects({"interactions.parquet": table}, "interactions.parquet: row 3", "'user'")
    table = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "rating": [1.0, float("nan")]})
    rejects({"interactions.parquet": table}, "interactions.parquet: row 2", "'rating'")


def test_a_file_that_is_no_parquet_is_refused(rejects):
    rejects(
        {"interactions.parquet": b"PAR1 or not"},
        "interactions.parquet",
        "cannot be read as parquet",
    )


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        (
            CSV,
            "user;item;rating\na;x;3,5\n",
            ("semicolons", "a .csv file has commas", "Save it with commas"),
        ),
        (CSV, "user\titem\na\tx\n", ("tabs", "Save it with commas, or name it interactions.tsv")),
        (
            "interactions.tsv",
            "user,item\na,x\n",
            ("commas", "Save it with tabs, or name it interactions.csv"),
        ),
        (CSV, "\n\nuser|item\na|x\n", (":3: ", "bars")),
    ],
)
def test_another_separator_is_named(rejects, name, content, parts):
    rejects({name: content}, name, *parts)


def test_a_column_that_is_named_twice_is_refused(rejects):
    rejects({CSV: "user,item,user\na,x,b\n"}, f"{CSV}:1: ", "names column 'user' twice")
    rejects({CSV: OK, "items.csv": "item,a,a\nx,1,2\n"}, "items.csv:1: ", "names column 'a' twice")


def test_a_named_column_is_no_other_column_too(read, rejects):
    data = read({CSV: "user,item\na,x\n"}, columns={"item": "user", "user": "item"})
    assert pairs(data.interactions) == [("x", "a")]
    rejects(
        {CSV: "user,thing\na,x\n"}, "no user column among: user, thing", columns={"item": "user"}
    )


def test_a_quote_within_a_field_is_kept(read):
    data = read({CSV: OK, "items.csv": 'item,title\nx,The 12" vinyl\ny,"Quoted, too"\n'})
    assert data.items["title"].to_list() == ['The 12" vinyl', "Quoted, too"]


def test_a_text_field_that_was_asked_for_must_be_there(read, rejects):
    files = {CSV: OK, "items.csv": "item,title,maker\nx,A hat,Acme\n"}
    assert read(files, text_fields=("maker",)).items.columns == ["item", "title", "maker"]
    rejects(
        files,
        "items.csv",
        "no text field 'makr'",
        "Did you mean 'maker'?",
        text_fields=("title", "makr"),
    )


def test_a_header_alone_gives_no_items(read):
    data = read({CSV: OK, "items.csv": "item,title\n"})
    assert data.items.rows() == []


def test_items_give_titles_and_text(read):
    items = "item,title,brand,price\nx,A hat,Acme,3\ny,,,\n"
    data = read({CSV: OK, "items.csv": items})
    assert data.items.rows(named=True) == [
        {"item": "x", "title": "A hat", "brand": "Acme"},
        {"item": "y", "title": None, "brand": None},
    ]


def test_a_list_of_categories_is_joined(read):
    items = pl.DataFrame({"item": ["x"], "categories": [["Hats", "Warm"]]})
    assert read({CSV: OK, "items.parquet": items}).items["categories"].to_list() == ["Hats Warm"]


def test_repeated_items_keep_the_first_row_and_are_counted(read):
    data = read({CSV: OK, "items.csv": "item,title\nx,first\nx,second\ny,other\nx,third\n"})
    assert data.items.rows() == [("x", "first"), ("y", "other")]
    assert data.notes == {"repeated items": 2}


def test_naming_item_or_a_field_twice_as_text_is_harmless(read):
    data = read(
        {CSV: OK, "items.csv": "item,brand\nx,Acme\n"}, text_fields=("item", "brand", "brand")
    )
    assert data.items.rows() == [("x", "Acme")]


@pytest.mark.parametrize(
    ("items", "place", "what"),
    [
        (
            {"items.csv": 'item,title\nx,"two\nlines"\n,no id\n'},
            "items.csv:4: ",
            "no value in column 'item'",
        ),
        ({"items.csv": "item,title\nx\n"}, "items.csv:2: ", "1 fields where the header has 2"),
        ({"items.csv": "name,price\nx,1\n"}, "items.csv:1: ", "no item column"),
        ({"items.parquet": pl.DataFrame({"item": ["x", None]})}, "items.parquet: row 2", "'item'"),
        (
            {"items.parquet": pl.DataFrame({"item": ["x"], "title": [["a"]]})},
            "items.parquet",
            "column 'title' holds",
        ),
        (
            {"items.parquet": pl.DataFrame({"item": ["x"], "brand": [[["a"]]]})},
            "items.parquet",
            "column 'brand' holds",
        ),
        ({"items.csv": "item\nx\n", "items.tsv": "item\nx\n"}, "raw", "several item tables"),
    ],
)
def test_a_bad_item_table_is_named(rejects, items, place, what):
    rejects({CSV: OK, **items}, place, what)
