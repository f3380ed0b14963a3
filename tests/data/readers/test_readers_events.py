"""Events and weights as the readers find them; what they refuse, they refuse in one line."""

from __future__ import annotations

import gzip
import json

import polars as pl
import pytest

from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.settings.data import PrepareConfig

EVENTS = "user,item,type\na,x,view\nb,y,buy\na,z,view\n"
BY_TYPE = {"columns": {"event": "type"}, "event_weights": {"view": 1, "buy": 10}}
BY_COLUMN = {"columns": {"weight": "n"}}


def weights_of(source) -> list[float]:
    return source.interactions["weight"].to_list()


@pytest.mark.parametrize(
    "files",
    [
        {"interactions.csv": EVENTS},
        {"interactions.tsv": EVENTS.replace(",", "\t")},
        {"interactions.csv.gz": EVENTS},
        {"interactions.csv": EVENTS.replace("view", " view ")},
        {"interactions.parquet": pl.read_csv(EVENTS.encode())},
        {"shop.inter": EVENTS.replace(",", "\t")},
        {
            "shop.inter": EVENTS.replace(",", "\t").replace(
                "user\titem\ttype", "user_id:token\titem_id:token\ttype:token"
            )
        },
    ],
    ids=["csv", "tsv", "gzip", "spaces", "parquet", "mmrec", "recbole"],
)
def test_events_get_the_weight_of_their_type(read, files):
    source = read(files, **BY_TYPE)
    assert weights_of(source) == [1.0, 10.0, 1.0]
    assert "event" not in source.interactions.columns


def test_a_column_of_weights_is_read_as_numbers(read):
    source = read({"interactions.csv": "user,item,n\na,x,2\nb,y,0.5\nc,z,0\n"}, **BY_COLUMN)
    assert weights_of(source) == [2.0, 0.5, 0.0]


def test_without_being_named_neither_is_read(read):
    table = "user,item,weight,event\na,x,900,view\n"
    assert read({"interactions.csv": table}).interactions.columns == ["user", "item"]


def test_ratings_may_be_weights_or_events_and_stay_ratings(read):
    table = {"interactions.csv": "user,item,rating\na,x,5\nb,y,3\n"}
    source = read(table, columns={"weight": "rating"})
    assert weights_of(source) == source.interactions["rating"].to_list() == [5.0, 3.0]
    source = read(table, columns={"event": "rating"}, event_weights={5: 2, 3: 0})
    assert weights_of(source) == [2.0, 0.0]


def test_movielens_and_amazon_have_ratings_as_weights(read):
    for ratings in (
        {"ratings.dat": "1::7::4::10\n2::7::1.5::20\n"},
        {"ratings.csv": "userId,movieId,rating,timestamp\n1,7,4,10\n2,7,1.5,20\n"},
    ):
        assert weights_of(read(ratings, columns={"weight": "rating"})) == [4.0, 1.5]
        by_rating = {"columns": {"event": "rating"}, "event_weights": {"4": 3, "1.5": 0}}
        assert weights_of(read(ratings, **by_rating)) == [3.0, 0.0]


def test_amazon_reads_its_ratings_as_weights(tmp_path):
    reviews = [
        {"reviewerID": user, "asin": "B1", "overall": stars, "unixReviewTime": 10}
        for user, stars in (("a", 4.0), ("b", 1.0))
    ]
    lines = "".join(json.dumps(review) + "\n" for review in reviews)
    (tmp_path / "Gift_Cards_5.json.gz").write_bytes(gzip.compress(lines.encode()))
    source = read_source(tmp_path, PrepareConfig(columns={"weight": "overall"}))
    assert weights_of(source) == [4.0, 1.0]
    by_stars = PrepareConfig(columns={"event": "overall"}, event_weights={4: 1, 1: 0})
    assert weights_of(read_source(tmp_path, by_stars)) == [1.0, 0.0]


def test_layouts_with_known_columns_refuse_another_column(rejects):
    files = {"ratings.dat": "1::7::4::10\n"}
    rejects(files, "prepare.columns names weight", columns={"weight": "price"})
    rejects({"ratings.dat": "1::7::-3::10\n"}, "rating -3 is not", columns={"weight": "rating"})


def test_an_event_without_a_weight_is_refused_with_those_seen(rejects):
    files = {"interactions.csv": EVENTS + "c,x,wish\nc,y,wish\n"}
    rejects(
        files,
        "interactions.csv:5: event 'wish' has no weight; "
        "the events are view (2), wish (2), buy (1). Give it one with --weight 'wish=W'",
        **BY_TYPE,
    )
    rejects(files, "csv:2: event 'view' has no weight", columns={"event": "type"})


def test_not_even_skipping_malformed_lines_hides_such_an_event(rejects):
    files = {"interactions.csv": EVENTS + ",x,buy\nc,x,wish\n"}
    rejects(files, "interactions.csv:6: event 'wish'", on_error="skip", **BY_TYPE)


def test_of_many_events_the_most_frequent_are_shown(rejects):
    lines = [f"a,x,kind{n}" for n in range(30)] + ["a,x,often"] * 3
    files = {"interactions.csv": "user,item,type\n" + "\n".join(lines)}
    message = rejects(files, "often (3), kind0 (1)", "… (31 in all)", columns={"event": "type"})
    assert len(message) < 500


@pytest.mark.parametrize("bad", ["-1", "nan", "inf", "-inf", "1e300", "1e-300", "many", ""])
def test_what_is_no_weight_is_refused_with_its_line(rejects, read, bad):
    files = {"interactions.csv": f"user,item,n\na,x,1\nb,y,{bad}\nc,z,2\n"}
    rejects(files, "interactions.csv:3:", "in column 'n'", **BY_COLUMN)
    assert weights_of(read(files, on_error="skip", **BY_COLUMN)) == [1.0, 2.0]


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), None])
def test_what_is_no_weight_in_parquet_is_refused_with_its_row(rejects, bad):
    table = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "n": [1.0, bad]})
    rejects({"interactions.parquet": table}, "row 2:", "in column 'n'", **BY_COLUMN)


def test_a_line_without_an_event_is_malformed(rejects):
    files = {"interactions.csv": EVENTS + "c,x,\n"}
    rejects(files, "interactions.csv:5: no value in column 'type'", **BY_TYPE)


def test_a_column_that_is_missing_is_refused(rejects):
    files = {"interactions.csv": EVENTS}
    rejects(
        files, "has no column 'tpye'", "type", columns={"event": "tpye"}, event_weights={"a": 1}
    )


def test_a_list_is_no_event_in_an_atomic_file(rejects):
    files = {"shop.inter": "user_id:token\titem_id:token\ttype:token_seq\na\tx\tview\n"}
    rejects(files, "the event 'type' is token_seq", **BY_TYPE)


def test_the_context_counts_the_events(tmp_path):
    (tmp_path / "interactions.csv").write_text(EVENTS)
    context = ReadContext(PrepareConfig(columns={"event": "type"}), needs_weights=False)
    source = read_source(tmp_path, context.options, context)
    assert context.events == {"view": 2, "buy": 1}
    assert source.interactions.columns == ["user", "item"]
