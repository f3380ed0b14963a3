"""HTML in titles and texts is plain text by the time anyone reads it, in every layout."""

from __future__ import annotations

import time

import polars as pl
import pytest

from ld4mrec_cli.data.readers.html_text import plain_text, plain_texts

PAGE = (
    '<span id="t"><style>.c{color:#111}</style>Red &amp; blue</span>'
    "<script>var start = (new Date()).getTime(); if (a<b) { x('</b>') }</script>"
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (PAGE, "Red & blue"),
        ("Gift &amp; <b>card</b>", "Gift & card"),
        ("<p>One</p><p>Two</p>", "One Two"),
        ("One<br/>two<br>three", "One two three"),
        ("<SCRIPT type='x'>alert('<b>')</SCRIPT >Blue", "Blue"),
        ("Red <script>cut off", "Red"),
        ('Red <span class="cut off', "Red"),
        ("Red <!-- cut off", "Red"),
        ("a<!-- <b>no</b> -->b", "a b"),
        ("x &#39;y&#39; &#x41;&nbsp;z", "x 'y' A z"),
        ("&lt;span&gt;Red&lt;/span&gt;", "Red"),
        ("&lt;script&gt;x()&lt;/script&gt;Red", "Red"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("<![CDATA[Red]]> pan", "Red pan"),
        ("x <![foo y]> z", "x z"),
        ('<a href="x>y">link</a>', "link"),
        ("<o:p>Word</o:p> <my-tag>custom</my-tag>", "Word custom"),
        ("<script>only()</script>", ""),
    ],
)
def test_markup_becomes_plain_text(text, plain):
    assert plain_text(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "two\nlines  and   spaces",
        "I <3 music",
        "a < b > c",
        "a<b",
        "Men & women",
        "AT&T",
        "<Untitled>",
        "The <Untitled> album",
        "a <",
        "&",
    ],
)
def test_text_without_markup_stays_as_it_is(text):
    assert plain_text(text) == text


@pytest.mark.parametrize(
    "piece", ["<a", "<!--", "<![", "<a b='", '<a b="" ', "&#", "<", "</script"]
)
def test_broken_markup_takes_no_quadratic_time(piece):
    start = time.perf_counter()
    plain_text(piece * 20_000)
    assert time.perf_counter() - start < 5


def test_a_column_keeps_null_and_the_length():
    texts = pl.Series("title", ["<b>Red</b>", None, "Blue", "a &amp; b"])
    assert plain_texts(texts).to_list() == ["Red", None, "Blue", "a & b"]
    assert texts[0] == "<b>Red</b>"


QUOTED = '"' + PAGE.replace('"', '""') + '"'
INTER = "userID\titemID\n0\t1\n"
LAYOUTS = {
    "csv": {
        "interactions.csv": "user,item\na,1\n",
        "items.csv": f"item,title,brand\n1,{QUOTED},{QUOTED}\n",
    },
    "tsv": {
        "interactions.tsv": "user\titem\na\t1\n",
        "items.tsv": f"item\ttitle\tbrand\n1\t{PAGE}\t{PAGE}\n",
    },
    "parquet": {
        "interactions.csv": "user,item\na,1\n",
        "items.parquet": pl.DataFrame({"item": [1], "title": [PAGE], "brand": [[PAGE]]}),
    },
    "mmrec": {"x.inter": INTER, "items.tsv": f"item\ttitle\tbrand\n1\t{PAGE}\t{PAGE}\n"},
    "recbole": {
        "x.inter": "user_id:token\titem_id:token\na\t1\n",
        "x.item": f"item_id:token\ttitle:token_seq\tbrand:token\n1\t{PAGE}\t{PAGE}\n",
    },
    "amazon": {
        "r.json": [{"reviewerID": "a", "asin": "1", "overall": 5.0, "unixReviewTime": 1}],
        "meta_r.json": [{"asin": "1", "title": PAGE, "brand": PAGE, "category": []}],
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_plain_titles_and_texts(read, layout):
    items = read(LAYOUTS[layout]).items
    assert items.select("item", "title", "brand").rows() == [("1", "Red & blue", "Red & blue")]
