"""Each generation of the Amazon data in its published layout, end to end."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from raw_files import assert_rejected, fill, snapshot
from test_image_vectors import record

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.settings.data import PrepareConfig

USERS = [f"A{number}USERUSER0" for number in range(6)]
ITEMS = [f"B00000000{number}" for number in range(6)]
HUES = ["dark", "light"] * 3
TIME = 1_400_000_000
PAIRS = [
    (user, item, 1 + (u + i) % 5, TIME + 10 * u + i)
    for u, user in enumerate(USERS)
    for i, item in enumerate(ITEMS)
]


def lines(records) -> str:
    return "".join(json.dumps(one) + "\n" for one in records)


REVIEWS_2014 = "".join(
    f'{{"reviewerID": "{user}", "asin": "{item}", "reviewerName": "J. \\"Jo\\" Doe", "helpful": [2, 3], '  # noqa: E501
    f'"reviewText": "Fine \\u00e9 {{}}.", "overall": {rating}.0, "summary": "Ok", "unixReviewTime": {time}, '  # noqa: E501
    f'"reviewTime": "05 13, 2014"}}\n'
    for user, item, rating, time in PAIRS
)
META_2014 = "".join(
    f"{{'asin': '{item}', 'categories': [['Gifts', 'Cards'], ['Paper']], "
    f'\'description\': "It\'s a \\"red\\" card\\n", '
    f"'title': 'Card &amp; {HUES[number]} bow', 'price': 9.99, 'salesRank': {{'Gifts': {number}}}, "
    f"'imUrl': 'http://ecx/{item}.jpg', 'related': {{'also_bought': ['{item}']}}, 'brand': 'Acm\\xe9'}}\n"  # noqa: E501
    for number, item in enumerate(ITEMS)
)
REVIEWS_2018 = lines(
    {
        "overall": float(rating),
        "verified": True,
        "reviewTime": "06 17, 2018",
        "reviewerID": user,
        "asin": item,
        "style": {"Gift Amount:": " 50"},
        "reviewText": "Fine é {}.",
        "unixReviewTime": time,
    }
    for user, item, rating, time in PAIRS
)
META_2018 = lines(
    {
        "category": ["Gifts", "Cards", "Paper"],
        "description": ['It\'s a "red" card'],
        "title": f"Card &amp; {HUES[number]} bow",
        "brand": "Acmé",
        "feature": ["with bow"],
        "details": {"Shipping Weight:": "3 ounces"},
        "main_cat": "Gifts",
        "asin": item,
    }
    for number, item in enumerate(ITEMS)
)
REVIEWS_2023 = lines(
    {
        "rating": float(rating),
        "title": "Ok",
        "text": "Fine é {}.<br />",
        "images": [{"small_image_url": "https://m/x.jpg"}],
        "asin": "C" + item[1:],
        "parent_asin": item,
        "user_id": user,
        "timestamp": time * 1000 + 987,
        "helpful_vote": 0,
        "verified_purchase": True,
    }
    for user, item, rating, time in PAIRS
)
META_2023 = lines(
    {
        "main_category": "Gift Cards",
        "title": f"Card & {HUES[number]} bow",
        "average_rating": 4.5,
        "features": ["with bow", "red"],
        "description": ['It\'s a "red" card'],
        "price": None,
        "images": [{"thumb": "https://m/t.jpg", "variant": "MAIN"}],
        "videos": [],
        "store": "Acmé",
        "categories": ["Gifts", "Cards", "Paper"],
        "details": {"Brand": "Acmé", "Best Sellers Rank": {"Gift Cards": 7}, "Color": "Red"},
        "parent_asin": item,
        "bought_together": None,
    }
    for number, item in enumerate(ITEMS)
)
GENERATIONS = {
    "2014": {"reviews_Gifts_5.json.gz": REVIEWS_2014, "meta_Gifts.json.gz": META_2014},
    "2018": {"Gifts_5.json.gz": REVIEWS_2018, "meta_Gifts.json.gz": META_2018},
    "2023": {"Gifts.jsonl.gz": REVIEWS_2023, "meta_Gifts.jsonl.gz": META_2023},
}
TABLES = {
    "2014": {"ratings_Gifts.csv": "".join(f"{u},{i},{r}.0,{t}\n" for u, i, r, t in PAIRS)},
    "2018": {"Gifts.csv": "".join(f"{i},{u},{r}.0,{t}\n" for u, i, r, t in PAIRS)},
    "2023": {
        "Gifts.csv": "user_id,parent_asin,rating,timestamp\n"
        + "".join(f"{u},{i},{r}.0,{t}987\n" for u, i, r, t in PAIRS)
    },
}
VECTORS = b"".join(record(item, number, -1) for number, item in enumerate(ITEMS[:4]))
FRACTIONS = {"2014": 0, "2018": 0, "2023": 0.987}
"""Part of a second that the times of a generation have."""


def expected(generation: str) -> list[tuple[str, str, float, float]]:
    return [
        (user, item, float(rating), time + FRACTIONS[generation])
        for user, item, rating, time in PAIRS
    ]


EXPECTED = expected("2018")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_generation_from_raw_files_to_dataset(raw, tmp_path, generation):
    directory = raw(GENERATIONS[generation] | {"image_features_Gifts.b": VECTORS})
    told = prepare(directory, tmp_path / "out", PrepareConfig(text_dim=2, split="temporal"))
    dataset = Dataset.open(tmp_path / "out")
    assert told.format == dataset.schema.provenance["format"] == f"amazon {generation}"
    assert told.left_out == {}
    assert (dataset.schema.n_users, dataset.schema.n_items, dataset.schema.n_interactions) == (
        6,
        6,
        36,
    )
    assert dataset.titles == [f"Card & {hue} bow" for hue in HUES]
    assert dataset.users.ids == USERS
    assert {name: info.items_with_feature for name, info in dataset.schema.modalities.items()} == {
        "image": 4,
        "text": 6,
    }
    assert dataset.modality("image").values[3, :2].tolist() == [3, -1]
    # the last two of a user, by time, are held out
    assert dataset.interactions("test")["timestamp"].sort().to_list() == [
        TIME + 10 * u + 5 + FRACTIONS[generation] for u in range(6)
    ]
    prepare(directory, tmp_path / "again" / "out", PrepareConfig(text_dim=2, split="temporal"))
    assert snapshot(tmp_path / "again" / "out") == snapshot(tmp_path / "out")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_reviews_and_text_fields_of_a_generation(read, generation):
    extra = {"2014": {}, "2018": {"features": "with bow", "details": "Shipping Weight: 3 ounces"}}
    extra["2023"] = {"features": "with bow red", "details": "Brand Acmé Color Red"}
    fields = ("brand", "categories", "description", *extra[generation])
    data = read(GENERATIONS[generation], text_fields=fields)
    assert (data.format, data.detail) == ("amazon", generation)
    assert data.interactions.rows() == expected(generation)
    assert data.items.row(0, named=True) == {
        "item": ITEMS[0],
        "title": "Card & dark bow",
        "brand": "Acmé",
        "categories": "Gifts Cards Paper",
        "description": 'It\'s a "red" card',
        **extra[generation],
    }


@pytest.mark.parametrize(
    ("generation", "field", "what"),
    [
        ("2014", "details", "no item has text in field 'details'"),
        ("2023", "detail", "Did you mean 'details'?"),
    ],
)
def test_a_text_field_that_no_item_has_is_an_error(rejects, generation, field, what):
    rejects(GENERATIONS[generation], "meta_Gifts.json", what, text_fields=("title", field))


@pytest.mark.parametrize("generation", TABLES)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "gz", "bom"])
def test_ratings_alone(read, generation, ending):
    ((name, text),) = TABLES[generation].items()
    if ending == "gz":
        files = {name + ".gz": text}
    else:
        files = {name: "\ufeff" + text if ending == "bom" else text.replace("\n", ending)}
    data = read(files)
    assert data.layout == f"amazon {generation}"
    assert data.interactions.rows() == expected(generation)


@pytest.mark.parametrize(
    ("name", "text", "first"),
    [
        ("ratings_Toys.csv", "1,2,5.0,1400000000\n", ("1", "2", 5.0, 1_400_000_000)),
        ("Toys.csv", TABLES["2014"]["ratings_Gifts.csv"], EXPECTED[0]),
        ("ratings_Toys.csv", TABLES["2018"]["Gifts.csv"], EXPECTED[0]),
    ],
)
def test_columns_of_a_headerless_table_are_told_by_their_ids_and_else_by_its_name(
    read, name, text, first
):
    assert read({name: text}).interactions.row(0) == first


@pytest.mark.parametrize("options", [{}, {"format": "amazon"}])
def test_a_headerless_table_of_unknown_ids_is_refused(rejects, options):
    line = "1,509,4,1600003600\n"
    rejects({"Toys.csv": line * 3}, "Toys.csv:1: has no ", "Put ", "above it", **options)


def test_one_amazon_id_among_others_does_not_decide_the_order(rejects):
    text = "1,509,4,1600003600\n" * 3 + "B000000001,A1USERUSER0,5.0,1400000000\n"
    rejects({"Toys.csv": text}, "Toys.csv:1: has no user column", "looks like data")


def test_reviews_as_csv_with_quoted_texts_are_read(read):
    text = "rating,title,text,asin,parent_asin,user_id,timestamp\n" + "".join(
        f'{rating}.0,"Fine, ""really""","Two\n\nlines",C{item[1:]},{item},{user},{time}987\n'
        for user, item, rating, time in PAIRS
    )
    for name, content in (("Gifts.csv", text), ("Gifts.csv.gz", text)):
        data = read({name: content})
        assert (data.layout, data.interactions.rows()) == ("amazon 2023", expected("2023"))
        (data.files[0]).unlink()


def test_a_broken_quote_in_reviews_as_csv_is_named_or_left_out(read, rejects):
    good = "4.0,Nice,B1,u,1600003600000\n"
    text = "rating,title,parent_asin,user_id,timestamp\n" + good + '5.0,"a\\" b",B2,u,16\n' + good
    rejects({"Gifts.csv": text}, "Gifts.csv:3: malformed line", "doubled")
    assert read({"Gifts.csv": text}, on_error="skip").interactions["item"].to_list() == ["B1", "B1"]


def test_further_columns_of_a_ratings_table_with_header_are_left(read):
    text = "history,rating,timestamp,user_id,parent_asin\nB1 B2,4,1400000000000,u,i\n"
    assert read({"Gifts.csv": text}).interactions.rows() == [("u", "i", 4.0, 1_400_000_000)]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("a,b,c", "3 fields where 4 are needed"),
        ("a,b,x,1400000000", "'x' in field 'rating' is not a number"),
        ("a,b,nan,1400000000", "no number in field 'rating'"),
        ("a,b,5,", "'' in field 'timestamp' is not a number"),
        ("a, ,5,1400000000", "no text in field 'user'"),
        (b"\xff,b,5,1400000000", "is not UTF-8"),
    ],
)
def test_a_malformed_rating_is_named_or_left_out(read, rejects, line, what):
    good = TABLES["2018"]["Gifts.csv"].encode()
    files = {
        "Gifts.csv": good + (line if isinstance(line, bytes) else line.encode()) + b"\n" + good
    }
    rejects(files, "Gifts.csv:37: ", what)
    assert len(read(files, on_error="skip").interactions) == 72


def test_reviews_go_before_ratings(read):
    data = read({**GENERATIONS["2018"], "Gifts.csv": "B000000009,A9USERUSER9,5.0,1400000000\n"})
    assert data.interactions.rows() == EXPECTED
    assert data.notes == {"ratings-only files (the reviews are read instead)": 1}
    assert "Gifts.csv" not in [path.name for path in data.files]


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (
            {**GENERATIONS["2014"], **GENERATIONS["2018"], "b.json": REVIEWS_2018},
            "Gifts_5.json.gz is of 2018",
        ),
        (
            {"a.json": REVIEWS_2018, "meta_a.jsonl": META_2023},
            "a.json is of 2018, meta_a.jsonl of 2023",
        ),
        (
            {"a.json": REVIEWS_2018, "meta_a.json": META_2014},
            "a.json is of 2018, meta_a.json of 2014",
        ),
        (
            {"a.jsonl": REVIEWS_2023, "ratings_a.csv": TABLES["2014"]["ratings_Gifts.csv"]},
            "ratings_a.csv of 2014",
        ),
    ],
)
def test_mixed_generations_are_refused(rejects, files, what):
    what = "mixes generations" if "b.json" in files else what
    rejects(files, "raw: mixes generations of the Amazon data: ", what)


def test_asin_stands_in_for_a_missing_parent(read, rejects):
    review = {"user_id": "u", "asin": "b", "rating": 4, "timestamp": 1_400_000_000_000}
    data = read({"r.jsonl": [review], "meta_r.jsonl": [{"asin": "b", "title": "x", "store": "y"}]})
    assert data.detail == "2023"
    assert data.items.select("item", "title", "brand").rows() == [("b", "x", "y")]
    rejects(
        {"r.jsonl": [review, {**review, "asin": None}]}, "r.jsonl:2: no text in field 'parent_asin'"
    )


def test_only_texts_of_items_that_are_left_are_read(raw, tmp_path):
    once = json.dumps({**json.loads(REVIEWS_2018.splitlines()[0]), "asin": "B000000009"}) + "\n"
    files = {"a.json": REVIEWS_2018 + once, "meta_a.json": META_2018 + META_2018}
    told = prepare(raw(files), tmp_path / "out", PrepareConfig(text_dim=2))
    assert told.left_out == {"repeated items": 6, "interactions outside the 5-core": 1}


@pytest.mark.parametrize(
    "line",
    [
        "{'asin': open('x')}",
        "{'asin': 'a', 'title': __import__('os')}",
        "{'asin': 'a'",
        "{[]: 1}",
        "[" * 100_000,
        "-" * 100_000 + "1",
        "1" + "+1" * 100_000,
        "{'a': " * 5_000,
        "'" + "x" * (1 << 20) + "'",
        "{'asin': 'a\0'}",
        "",
    ],
)
def test_a_python_line_of_2014_is_a_plain_dictionary_or_a_fault(read, rejects, line):
    files = {**GENERATIONS["2014"], "meta_Gifts.json.gz": META_2014 + line + "\n"}
    if line:
        rejects(files, "meta_Gifts.json.gz:7: ")
    assert len(read(files, on_error="skip").items) == 6


def test_odd_escapes_of_a_python_line_are_no_warning(read):
    files = {
        **GENERATIONS["2014"],
        "meta_Gifts.json.gz": f"{{'asin': '{ITEMS[0]}', 'imUrl': 'x', 'title': 'a\\d'}}\n",
    }
    assert read(files).items["title"].to_list() == ["a\\d"]


def test_python_lines_are_for_2014_alone(rejects):
    rejects(
        {"a.json": REVIEWS_2018, "meta_a.json": META_2018 + "{'asin': 'x'}\n"},
        "meta_a.json:7: not valid JSON",
    )


def test_deep_metadata_is_read_to_a_depth(read):
    deep = json.dumps({"asin": ITEMS[0], "category": [], "title": "x", "description": "Y"})
    deep = deep.replace('"Y"', "[" * 900 + '"z"' + "]" * 900)
    assert read({"a.json": REVIEWS_2018, "meta_a.json": deep}).items["description"].to_list() == [
        ""
    ]


def test_malformed_lines_are_counted_wherever_they_are(raw, tmp_path):
    bad = "{\n[1]\n"
    directory = raw(
        {"a.json": bad + REVIEWS_2018, "meta_a.json": META_2018 + bad + '{"category": []}\n'}
    )
    told = prepare(directory, tmp_path / "out", PrepareConfig(text_dim=2, on_error="skip"))
    assert told.left_out == {"malformed lines": 5}
    assert [fault.split("/")[-1].split(": ")[0] for fault in told.bad_lines] == [
        "a.json:1",
        "a.json:2",
        "meta_a.json:7",
        "meta_a.json:8",
        "meta_a.json:9",
    ]
    options = PrepareConfig(text_dim=2, on_error="skip", max_errors=4)
    assert_rejected(
        lambda: prepare(directory, tmp_path / "new", options),
        "more than 4 malformed",
        "meta_a.json:9",
    )
    assert not (tmp_path / "new").exists()


def test_records_of_vectors_count_as_malformed_too(raw, tmp_path):
    vectors = VECTORS + record(ITEMS[4], float("nan")) + record(b"\xff" * 10, 1)
    directory = raw({"a.json": REVIEWS_2018, "image_features_a.b": vectors})
    assert_rejected(
        lambda: prepare(directory, tmp_path / "out", PrepareConfig()), "record 6: its id"
    )
    told = prepare(directory, tmp_path / "out", PrepareConfig(on_error="skip"))
    assert told.left_out == {"malformed lines": 2}
    assert told.schema.modalities["image"].items_with_feature == 4


@pytest.mark.parametrize("generation", GENERATIONS)
def test_crlf_and_a_byte_order_mark_are_no_fault(read, generation):
    changed = {
        name.removesuffix(".gz"): "\ufeff" + text.replace("\n", "\r\n")
        for name, text in GENERATIONS[generation].items()
    }
    data = read(changed)
    assert data.interactions.rows() == expected(generation)
    assert (data.detail, len(data.items)) == (generation, 6)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_truncated_gzip_is_an_error_whatever_is_left_out(rejects, on_error):
    rng = np.random.default_rng(0)
    text = lines(
        {**json.loads(REVIEWS_2018.splitlines()[0]), "x": rng.bytes(40).hex()} for _ in range(5000)
    )
    whole = gzip.compress(text.encode(), mtime=0)
    message = rejects(
        {"a.json.gz": whole[: len(whole) // 2]}, "a.json.gz:", "damaged gzip", on_error=on_error
    )
    assert 2000 < int(message.split("a.json.gz:")[1].split(":")[0]) < 3000
    files = {"a.json.gz": whole, "meta_a.json.gz": gzip.compress(META_2018.encode(), mtime=0)[:-9]}
    rejects(files, "meta_a.json.gz:", "damaged gzip", on_error=on_error)


def test_who_watches_is_told_of_every_file(tmp_path):
    raw = fill(tmp_path / "raw", {**GENERATIONS["2023"], "image_features_Gifts.b": VECTORS})
    told = {}
    prepare(
        raw,
        tmp_path / "out",
        PrepareConfig(text_dim=2),
        on_read=lambda path, done, total: told.update({path.name: (done, total)}),
    )
    assert told == {path.name: (path.stat().st_size,) * 2 for path in raw.iterdir()}
