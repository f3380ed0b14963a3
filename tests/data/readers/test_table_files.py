"""Files that other programs write: pandas, Spark, spreadsheets, old Macs, gzip under any name."""

from __future__ import annotations

import gzip

import numpy as np
import polars as pl
import pytest
from raw_files import fill

from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import read_table
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError

CSV = "interactions.csv"
TABLE = {CSV: "user,item\na,x\nb,y\n"}
LONG = "word " * 60_000


def gzip_times(times: int, content: bytes) -> bytes:
    """The same bytes at every call: they name a test, which xdist's processes must agree on."""
    for _ in range(times):
        content = gzip.compress(content, mtime=0)
    return content


@pytest.mark.parametrize("brand", ["", "Acme"], ids=["empty last field", "full"])
def test_long_fields_are_read(read, brand):
    items = f'item,title,description,brand\nx,Red,"{LONG}",{brand}\ny,"Blue ""pan""",short,\n'
    data = read(TABLE | {"items.csv": items})
    assert data.items["description"].to_list() == [LONG, "short"]
    assert data.items["title"].to_list() == ["Red", 'Blue "pan"']


def test_a_long_field_beside_a_broken_line_is_read(read):
    items = f'item,title\nx,"{LONG}"\nz,"broken "quote"\ny,Blue\n'
    data = read(TABLE | {"items.csv": items}, on_error="skip")
    assert data.items["item"].to_list() == ["x", "y"]


@pytest.mark.parametrize("name", [CSV, "interactions.tsv", "x.inter"])
def test_old_mac_line_ends_are_read(read, name):
    text = "user,item\ra,x\rb,y\r".replace(",", "," if name == CSV else "\t")
    assert read({name: text}).interactions.rows() == [("a", "x"), ("b", "y")]


def test_a_carriage_return_in_an_id_is_kept_where_it_is_quoted(read):
    data = read({CSV: 'user,item\n"a\rb",x\n"c\r\nd","y"\n'})
    assert data.interactions["user"].to_list() == ["a\rb", "c\r\nd"]


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.gz.gz", "t.tsv.gz"])
def test_a_table_is_unpacked_by_its_content(tmp_path, name, layers):
    content = b"user,item\na,x\n" if "csv" in name else b"user\titem\na\tx\n"
    for _ in range(layers):
        content = gzip.compress(content)
    (tmp_path / name).write_bytes(content)
    frame = read_table(tmp_path / name, ReadContext(PrepareConfig()))
    assert frame.rows() == [("a", "x")]


def test_a_gzipped_atomic_file_is_read_as_one(read):
    content = gzip.compress(b"user_id:token\titem_id:token\na\tx\n")
    data = read({"x.inter": content})
    assert (data.format, data.interactions.rows()) == ("recbole", [("a", "x")])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(b"user,item\na,x\n" * 99, mtime=0)[:-9], "damaged gzip"),
        (gzip_times(4, b"user"), "more than 3 times"),
        (b"PK\x03\x04rest", "is a zip archive. Unpack it"),
        ("user,item\na,x\n".encode("utf-16"), "is UTF-16 text. Save it as UTF-8"),
    ],
)
def test_content_that_is_not_read_is_named(rejects, content, what):
    rejects({CSV: content}, CSV, what)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('user,item\na,x\na,"pan 3\\" x"\nb,y\nb,"pot 4\\" y"\n', 3),
        ('user,item\na,"The "big" lid"\nb,y\n', 2),
        ('user,item\na,x\nb,"open\nc,y\n', 3),
    ],
)
def test_a_broken_quote_is_named_whatever_the_other_lines_are(rejects, read, text, line):
    rejects({CSV: text}, f"{CSV}:{line}: malformed line")
    rejects(
        TABLE | {"items.csv": text.replace("user,item", "item,title")},
        f"items.csv:{line}: malformed line",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (CSV, "1,509,4,1600003600\n1,512,4,1600007200\n"),
        (CSV, "1,509\n1,512\n"),
        ("orders.csv", "1,509,4,1600003600\n1,512,4,1600007200\n"),
        ("interactions.tsv", "1\t509\t4\t1600003600000\n"),
        ("x.inter", "1\t509\t4.0\n"),
    ],
)
@pytest.mark.parametrize("columns", [{}, {"user": "1", "item": "509"}])
def test_a_table_without_a_header_is_refused_with_the_cure(rejects, name, text, columns):
    rejects(
        {name: text}, f"{name}:1: has no user column among: 1, 509", "above it", columns=columns
    )


def test_columns_that_pandas_counted_can_be_named(read):
    data = read({CSV: "0,1,2\na,x,5\n"}, columns={"user": "0", "item": "1"})
    assert data.interactions.rows() == [("a", "x")]


def image(read, **columns) -> np.ndarray:
    frame = pl.DataFrame({"item": ["x", "y"]} | columns)
    return read(TABLE | {"image_feat.parquet": frame}).features["image"].values


INDEX = pl.Series([1000, 1007])


@pytest.mark.parametrize("name", ["__index_level_0__", "Unnamed: 0", "Unnamed: 0.1"])
def test_an_index_of_pandas_is_no_feature(read, name):
    wide = image(read, f0=[0.0, 1.0], f1=[2.0, 3.0], **{name: INDEX})
    assert wide.tolist() == [[0, 2], [1, 3]]
    assert image(read, v=[[0.0, 2.0], [1.0, 3.0]], **{name: INDEX}).tolist() == wide.tolist()


def test_an_index_that_pandas_named_in_the_metadata_is_no_feature(read, raw):
    directory = raw(TABLE)
    frame = pl.DataFrame({"item": ["x", "y"], "f0": [0.0, 1.0], "row": INDEX})
    metadata = {"pandas": '{"index_columns": ["row", {"kind": "range"}]}'}
    frame.write_parquet(directory / "image_feat.parquet", metadata=metadata)
    features = read_source(directory, PrepareConfig()).features["image"]
    assert features.values.tolist() == [[0], [1]]


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"v": [[1.0], [2.0]], "f0": [1.0, 2.0]}, "has the list column 'v' beside 'f0'"),
        ({"v": [[1.0], [2.0]], "w": [[1.0], [2.0]]}, "has the list column 'v' beside 'w'"),
        ({"f0": [1.0, 2.0], "name": ["a", "b"]}, "column 'name' holds String, numbers are needed"),
    ],
)
def test_columns_in_the_way_of_features_are_named(rejects, columns, what):
    frame = pl.DataFrame({"item": ["x", "y"]} | columns)
    rejects(TABLE | {"image_feat.parquet": frame}, "image_feat.parquet: ", what)


def spark(directory, frame: pl.DataFrame, parts: int = 2):
    """Write a table as Spark does."""
    directory.mkdir(parents=True)
    size = -(-len(frame) // parts)
    for part in range(parts):
        path = directory / f"part-0000{part}-c000.snappy.parquet"
        frame.slice(part * size, size).write_parquet(path)
    (directory / "_SUCCESS").touch()
    (directory / ".part-00000-c000.snappy.parquet.crc").write_bytes(b"crc")


def test_parquet_directories_of_spark_are_read(tmp_path):
    raw = tmp_path / "raw [1]"
    ids = ["x", "y", "z"]
    spark(raw / "interactions.parquet", pl.DataFrame({"user": ["a", "b", "c"], "item": ids}))
    spark(raw / "items.parquet", pl.DataFrame({"item": ids, "title": ["Red", "Blue", "Green"]}))
    spark(raw / "image_feat.parquet", pl.DataFrame({"item": ids, "v": [1.0, 2.0, 3.0]}))
    data = read_source(raw, PrepareConfig())
    assert data.interactions.rows() == [("a", "x"), ("b", "y"), ("c", "z")]
    assert data.items["title"].to_list() == ["Red", "Blue", "Green"]
    assert data.features["image"].values.tolist() == [[1], [2], [3]]
    assert len(data.files) == 6
    assert all(path.is_file() for path in data.files)


def test_directories_that_are_no_table_are_named(tmp_path, rejects):
    context = ReadContext(PrepareConfig())
    for name, inner in (("t.parquet", "day=1"), ("t.csv", "x"), ("u.parquet", "_temporary")):
        fill(tmp_path / name / inner, {"part.parquet": pl.DataFrame({"user": ["a"]})})
        with pytest.raises(SourceError, match=r"is a directory.*, one file is needed"):
            read_table(tmp_path / name, context)
