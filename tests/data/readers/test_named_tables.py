"""Plain tables of any names: by flag, by column and by date format."""

from __future__ import annotations

import polars as pl
import pytest
from pydantic import ValidationError
from raw_files import assert_rejected, fill

from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.settings.data import PrepareConfig

ORDERS = "customer,article,bought_at\na,x,24.12.2023 18:30\nb,y,01.02.2024 08:05\n"
CATALOGUE = "sku,name\nx,red hat\ny,blue glove\n"
COLUMNS = {
    "user": "customer",
    "interactions": {"item": "article", "timestamp": "bought_at"},
    "items": {"item": "sku"},
}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet"])
def test_tables_of_any_name_and_kind_are_read(tmp_path, suffix):
    tables = {"orders": ORDERS, "catalogue": CATALOGUE}
    for name, text in tables.items():
        if suffix == ".parquet":
            content = pl.read_csv(text.encode())
        else:
            content = text.replace(",", "\t") if "tsv" in suffix else text
        fill(tmp_path, {name + suffix: content})
    options = PrepareConfig(
        interactions=tmp_path / f"orders{suffix}",
        items=tmp_path / f"catalogue{suffix}",
        columns=COLUMNS,
        date_format="%d.%m.%Y %H:%M",
    )
    data = read_source(options.interactions, options)
    assert data.interactions.rows() == [("a", "x", 1703442600), ("b", "y", 1706774700)]
    assert data.items.rows() == [("x", "red hat"), ("y", "blue glove")]
    assert data.item_files == [options.items]


def test_a_table_can_stand_in_the_place_of_the_directory(tmp_path):
    fill(tmp_path, {"orders.csv": "user,item\na,x\n", "items.csv": "item,title\nx,red\n"})
    data = read_source(tmp_path / "orders.csv", PrepareConfig())
    assert data.interactions.rows() == [("a", "x")]
    assert data.item_files == []


def test_tables_are_also_looked_for_in_the_raw_directory(raw):
    directory = raw(
        {"a.csv": "user,item\na,x\n", "b.csv": "item,title\nx,red\n", "items.csv": "item\ny\n"}
    )
    options = PrepareConfig(interactions="a.csv", items="b.csv")
    assert read_source(directory, options).items.rows() == [("x", "red")]
    assert read_source(directory, PrepareConfig(interactions="a.csv")).items.rows() == [("y",)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interactions": "none.csv"}, "none.csv: no such file"),
        ({"items": "none.csv"}, "none.csv: no such file"),
        ({"items": "notes.txt"}, "notes.txt: is not a table. Tables end in .csv, .tsv, .parquet"),
        ({"items": "b.csv", "format": "mmrec"}, "--format mmrec reads a directory"),
        (
            {"items": "b.csv"},
            "b.csv:1: has no item column among: id. Name it with --column items.item=COLUMN",
        ),
        (
            {"items": "b.csv", "columns": {"items.item": "sku"}},
            "b.csv: has no column 'sku'",
        ),
    ],
)
def test_wrong_tables_give_one_line(rejects, options, message):
    rejects(
        {"interactions.csv": "user,item\na,x\n", "b.csv": "id\nx\n", "notes.txt": "hello"},
        message,
        **options,
    )


def test_other_files_are_no_tables(tmp_path):
    fill(tmp_path, {"x.inter": "userID\titemID\n1\t2\n"})
    assert_rejected(
        lambda: read_source(tmp_path / "x.inter", PrepareConfig()),
        "x.inter: is a file, but not a table",
        "Give the directory",
    )


def test_a_name_for_one_table_goes_before_the_name_for_all(read):
    files = {
        "interactions.csv": "user,product,item\na,x,1\n",
        "items.csv": "product,sku,title\nz,x,red\n",
    }
    data = read(files, columns={"item": "product", "items.item": "sku"})
    assert data.interactions["item"].to_list() == ["x"]
    assert data.items["item"].to_list() == ["x"]


def test_a_feature_table_may_call_its_item_otherwise(read):
    files = {
        "interactions.csv": "user,item\na,x\n",
        "items.csv": "sku,title\nx,red\n",
        "image_feat.parquet": pl.DataFrame({"item": ["x"], "v": [[1.0]]}),
    }
    data = read(files, columns={"items": {"item": "sku"}})
    assert data.features["image"].item_ids == ["x"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"items.user": "x"}, "unknown column 'items.user'"),
        ({"items": {"itm": "x"}}, "unknown column 'items.itm'. Did you mean 'items.item'?"),
        ({"item": "sku", "interactions.user": "sku"}, "item and user are both 'sku'"),
        ({"items": {"item": "a", "title": "a"}}, "item and title are both 'a'"),
        ({"items": "sku"}, "unknown column 'items'"),
    ],
)
def test_wrong_column_settings_are_refused(columns, message):
    with pytest.raises(ValidationError, match=message.replace("?", r"\?")):
        PrepareConfig(columns=columns)


def test_nested_and_dotted_columns_are_the_same():
    nested = PrepareConfig(columns={"items": {"item": "sku"}, "user": "u"})
    assert nested == PrepareConfig(columns={"items.item": "sku", "user": "u"})
    assert PrepareConfig.model_validate(nested.model_dump(mode="json")) == nested


@pytest.mark.parametrize(
    ("date_format", "value", "time"),
    [
        ("%d.%m.%Y", "24.12.2023", 1703376000),
        ("%d.%m.%Y %H:%M", "24.12.2023 18:30", 1703442600),
        ("%d/%m/%Y %H:%M:%S.%f", "24/12/2023 18:30:00.25", 1703442600.25),
        ("%Y%m%d", "20231224", 1703376000),
        ("%d.%m.%Y %H:%M %z", "24.12.2023 18:30 +0200", 1703435400),
        ("%b %d %Y %I:%M %p", "Dec 24 2023 06:30 PM", 1703442600),
    ],
)
def test_dates_of_a_format(read, date_format, value, time):
    files = {"interactions.csv": f"user,item,date\na,x,{value}\n"}
    assert read(files, date_format=date_format).interactions["timestamp"].to_list() == [time]


def test_a_date_of_another_form_is_named(rejects):
    files = {"interactions.csv": "user,item,date\na,x,24.12.2023\na,y,2023-12-24\n"}
    rejects(
        files,
        "interactions.csv:3: '2023-12-24' in column 'date' is not of the form '%d.%m.%Y'",
        date_format="%d.%m.%Y",
    )
    rejects(
        files,
        "interactions.csv:2: '24.12.2023' in column 'date' is not",
        "it may be --date-format '%d.%m.%Y'",
    )


@pytest.mark.parametrize("text", ["dd.mm.yyyy", "%d.%m.", "%H:%M", "%d.%m.%Y %Q", "%"])
def test_a_format_without_a_whole_date_is_refused(text):
    with pytest.raises(ValidationError, match="date_format"):
        PrepareConfig(date_format=text)


def hints(raw, files, **options):
    context = ReadContext(PrepareConfig(**options))
    read_source(raw(files), context.options, context)
    return context.hints


@pytest.mark.parametrize(
    ("column", "values", "flags"),
    [
        ("bought_at", ["2023-12-24 18:30:00", "2024-01-01T00:00:00Z"], "timestamp=bought_at"),
        ("kauf", ["24.12.2023", "01.02.2024"], "timestamp=kauf --date-format '%d.%m.%Y'"),
        (
            "d",
            ["01/02/2023", "03/04/2023"],
            "timestamp=d --date-format '%d/%m/%Y' or '%m/%d/%Y'",
        ),
        ("created", ["1703442600", "1703442601"], "timestamp=created"),
        ("created_ms", ["1703442600123", "1703442601456"], "timestamp=created_ms"),
    ],
)
def test_a_column_that_looks_like_a_time_is_named(raw, column, values, flags):
    table = f"user,item,{column}\n" + "".join(f"u{n},x,{value}\n" for n, value in enumerate(values))
    assert hints(raw, {"interactions.csv": table}) == [
        f"column '{column}' of interactions.csv looks like a time and is not used; "
        f"name it with --column {flags}"
    ]


@pytest.mark.parametrize(
    "table",
    [
        "user,item,date,created\na,x,2023-12-24,2023-12-24\n",  # the time is known
        "user,item,order_number\na,x,1703442600\n",
        "user,item,price\na,x,9.99\n",
        "user,item,note\na,x,red hat\n",
        "user,item,created\na,x,\n",
    ],
)
def test_other_columns_are_not_called_times(raw, table):
    assert hints(raw, {"interactions.csv": table}) == []


def test_text_columns_that_are_not_used_are_named(raw):
    items = (
        "item,produkt,text,price,url,code\n"
        "x,red hat,made of warm wool,9,http://a.b/c d e,A1\n"
        "y,blue hat,made of cotton,8,http://a.b/f g h,B2\n"
    )
    files = {"interactions.csv": "user,item\na,x\n", "items.csv": items}
    assert hints(raw, files) == [
        "columns 'produkt', 'text' of items.csv look like text and are not used; name the title "
        "with --column title=produkt, or name them with --text-field produkt --text-field text"
    ]
    assert hints(raw, files, columns={"title": "produkt"}) == [
        "column 'text' of items.csv looks like text and is not used; "
        "name it with --text-field title --text-field text"
    ]
    assert hints(raw, files, text_fields=("text",)) == []
