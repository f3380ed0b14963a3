from __future__ import annotations

import gzip
import json

import numpy as np
import polars as pl
import pytest
from raw_files import as_bytes

from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.settings.data import PrepareConfig

REVIEW = {
    "reviewerID": "A1",
    "asin": "B1",
    "overall": 5.0,
    "unixReviewTime": 1_500_000_000,
    "reviewText": "fine",
}
META = {
    "asin": "B1",
    "title": "Gift &amp; <b>card</b>",
    "category": ["Cards", "Gifts"],
    "brand": "Acme",
}


def review(**changed):
    return {key: value for key, value in {**REVIEW, **changed}.items() if value is not None}


@pytest.mark.parametrize(
    "name", ["Gifts_5.json", "Gifts_5.json.gz", "Gifts_5.jsonl", "Gifts_5.jsonl.gz"]
)
def test_reads_reviews_and_metadata(read, name):
    data = read({name: [REVIEW, review(reviewerID="A2", overall=3)], "meta_Gifts.json.gz": [META]})
    assert data.format == "amazon"
    assert data.interactions.rows() == [
        ("A1", "B1", 5.0, 1_500_000_000),
        ("A2", "B1", 3.0, 1_500_000_000),
    ]
    assert data.items.rows(named=True) == [
        {
            "item": "B1",
            "title": "Gift & card",
            "brand": "Acme",
            "categories": "Cards Gifts",
            "description": "",
        }
    ]


def test_metadata_of_other_items_is_left_and_repeats_are_counted(read):
    meta = [META, {"asin": "B9", "title": "no review"}, {**META, "title": "again"}]
    data = read({"r.json": [REVIEW], "meta_r.json": meta})
    assert data.items["title"].to_list() == ["Gift & card"]
    assert data.notes == {"repeated items": 1}


def test_several_review_files_are_read_together(read):
    data = read({"a.json": [REVIEW], "b.json.gz": [review(asin="B2")]})
    assert data.interactions["item"].to_list() == ["B1", "B2"]


def test_blank_lines_and_a_byte_order_mark_are_no_fault(read):
    data = read({"r.json": "\ufeff" + json.dumps(REVIEW) + "\n\n" + json.dumps(review(asin="B2"))})
    assert data.interactions["item"].to_list() == ["B1", "B2"]


def test_half_a_character_in_a_title_is_replaced(read):
    assert (
        read({"r.json": [REVIEW], "meta_r.json": [{**META, "title": "a \ud83d b"}]}).items["title"][
            0
        ]
        == "a ? b"
    )


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not valid JSON"),
        ('{"a": 1} x', "not valid JSON"),
        ("[1]", "not a JSON object"),
        ('"text"', "not a JSON object"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": ' + "1" * 5000 + "}", "not valid JSON"),
        (json.dumps(REVIEW).replace("fine", "ÿ").encode("latin-1"), "not UTF-8"),
        *(
            (json.dumps(review(**{name: None})), f"'{name}'")
            for name in REVIEW
            if name != "reviewText"
        ),
        (json.dumps(review(asin="")), "'asin'"),
        (json.dumps(review(asin=" ")), "'asin'"),
        (json.dumps(review(asin=True)), "'asin'"),
        (json.dumps(review(asin=float("nan"))), "'asin'"),
        (json.dumps(review(asin=["B1"])), "'asin'"),
        (json.dumps(review(asin=1e16)), "'asin': id 1e+16 is a float of 2^53 or more"),
        (json.dumps(review(asin="\ud83d")), "'asin'"),
        (json.dumps(review(overall="5")), "'overall'"),
        (json.dumps(review(overall=True)), "'overall'"),
        (json.dumps(review(overall=float("nan"))), "'overall'"),
        (json.dumps(review(unixReviewTime=1e300)), "'unixReviewTime'"),
    ],
)
def test_a_malformed_line_is_named(rejects, line, what):
    first = as_bytes([REVIEW, REVIEW]) + b"\n"
    rejects(
        {"r.json": first + (line if isinstance(line, bytes) else line.encode()) + b"\n"},
        "r.json:4: ",
        what,
    )


def test_a_malformed_line_of_metadata_is_named(rejects):
    rejects(
        {"r.json": [REVIEW], "meta_r.json.gz": [META, {"title": "no id"}]},
        "meta_r.json.gz:2: ",
        "'asin'",
    )


def test_a_damaged_gzip_is_refused(rejects):
    whole = gzip.compress(as_bytes([review(asin=f"B{number}") for number in range(500)]))
    flipped = whole[:200] + bytes([whole[200] ^ 0xFF]) + whole[201:]
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:5], flipped):
        rejects(
            {"r.json.gz": content},
            "r.json.gz:",
            "damaged gzip" if content != flipped else "r.json.gz",
        )


def test_gzip_is_recognized_by_the_content(read):
    lines = as_bytes([REVIEW, review(asin="B2")])
    once, twice = gzip.compress(lines), gzip.compress(gzip.compress(lines))
    for name, content in [
        ("r.json.gz", lines),
        ("r.json", once),
        ("r.json.gz", twice),
        ("r.json.gz.gz", twice),
        ("r.json.gz.gz", once),
    ]:
        data = read({name: content, f"meta_{name}": gzip.compress(as_bytes([META]))})
        assert data.interactions["item"].to_list() == ["B1", "B2"]
        assert data.items["title"].to_list() == ["Gift & card"]
        for path in data.files:
            path.unlink()


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"PK\x03\x04rest", "a zip archive"), (b"BZh9", "bzip2"), ("{}".encode("utf-16"), "UTF-16")],
)
def test_other_compressions_are_named_with_the_cure(rejects, content, kind):
    rejects({"r.json": content}, "r.json: is ", kind)


def test_json_lines_with_old_mac_line_ends_are_read(read):
    lines = as_bytes([REVIEW, review(asin="B2")]).replace(b"\n", b"\r")
    assert read({"r.json": lines}).interactions["item"].to_list() == ["B1", "B2"]


def test_numbers_as_ids_are_the_text_of_the_whole_number(read):
    reviews = [review(asin=number) for number in (7, 7.0, "7.0", "007", 2**60 + 1)]
    data = read({"r.json": reviews, "meta_r.json": [{**META, "asin": 7.0}]})
    assert data.interactions["item"].to_list() == ["7", "7", "7.0", "007", str(2**60 + 1)]
    assert data.items.select("item", "title").rows() == [("7", "Gift & card")]


def test_a_directory_without_reviews_is_refused(rejects):
    rejects({"meta_r.json": [META]}, "no known layout")
    rejects({"r.json": ""}, "r.json: holds no review")


def test_a_directory_named_like_a_file_is_refused(raw, rejects):
    (raw({}) / "r.json").mkdir()
    rejects({}, "r.json: cannot be read")


def test_features_are_keyed_by_item(read, rejects):
    data = read(
        {
            "r.json": [REVIEW],
            "image_feat.parquet": pl.DataFrame({"asin": ["B1"], "v": [[1.0, 2.0]]}),
        }
    )
    assert data.features["image"].values.tolist() == [[1.0, 2.0]]
    rejects({"audio_feat.npy": np.ones((1, 2))}, "audio_feat.npy", "Parquet keyed by item")


def test_gift_cards_have_their_known_counts(real_data):
    data = read_source(real_data("amazon_gift_cards"), PrepareConfig())
    assert data.interactions.shape == (2972, 4)
    assert data.interactions["user"].n_unique() == 458
    assert data.interactions["item"].n_unique() == 148
    assert (data.items["title"] != "").all()
