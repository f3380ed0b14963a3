"""The releases of MovieLens, as small files in their published forms."""

from __future__ import annotations

import pytest

from ld4mrec_cli.settings.data import PrepareConfig

TOY_STORY = "0|0|0|1|1|1" + "|0" * 13
UNKNOWN = "1" + "|0" * 18
RELEASES = {
    "latest": {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n2,7,0.5,1112486027\n",
        "movies.csv": "movieId,title,genres\n"
        "1,Toy Story (1995),Animation|Children's|Comedy\n"
        '7,"Amélie, Le (2001)",(no genres listed)\n',
        "tags.csv": "userId,movieId,tag,timestamp\n1,1,pixar,1\n2,1,toys,2\n3,1,pixar,3\n",
        "links.csv": "movieId,imdbId,tmdbId\n1,0114709,862\n",
    },
    "1M": {
        "ratings.dat": "1::1::4::964982703\n2::7::0.5::1112486027\n",
        "movies.dat": "1::Toy Story (1995)::Animation|Children's|Comedy\r\n"
        "7::Amélie, Le (2001)::(no genres listed)\r\n",
        "users.dat": "1::F::1::10::48067\n",
    },
    "100K": {
        "u.data": "1\t1\t4\t964982703\n2\t7\t0.5\t1112486027\n",
        "u.item": "1|Toy Story (1995)|01-Jan-1995||http://x|" + TOY_STORY + "\n"
        "7|Amélie, Le (2001)|01-Jan-2001||http://y|" + UNKNOWN + "\n",
        "u1.base": "1\t1\t4\t964982703\n",
    },
}


def as_latin1(files):
    return {
        name: text.encode("latin-1") if name in ("movies.dat", "u.item") else text
        for name, text in files.items()
    }


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("encode", [dict, as_latin1], ids=["utf-8", "latin-1"])
def test_every_release_is_recognized_and_read(read, release, encode):
    data = read(encode(RELEASES[release]))
    assert data.format == "movielens"
    assert data.interactions.columns == ["user", "item", "rating", "timestamp"]
    assert data.interactions.rows() == [
        ("1", "1", 4.0, 964982703),
        ("2", "7", 0.5, 1112486027),
    ]
    assert data.items.rows() == [
        ("1", "Toy Story (1995)", "Animation Children's Comedy"),
        ("7", "Amélie, Le (2001)", None if release != "100K" else ""),
    ]
    assert data.items.columns == ["item", "title", "categories"]


def test_tags_are_read_where_a_text_field_names_them(read):
    data = read(RELEASES["latest"], text_fields=("title", "genres", "tags"))
    assert data.items.to_dicts()[0] == {
        "item": "1",
        "title": "Toy Story (1995)",
        "genres": "Animation Children's Comedy",
        "tags": "pixar toys",
    }
    assert [path.name for path in data.files] == ["ratings.csv", "tags.csv", "movies.csv"]
    assert [path.name for path in read(RELEASES["latest"]).files] == ["ratings.csv", "movies.csv"]


def test_ratings_alone_are_enough(read):
    data = read({"ratings.csv": RELEASES["latest"]["ratings.csv"]})
    assert data.format == "movielens"
    assert data.items.columns == ["item"]
    assert data.item_files == []


def test_another_ratings_table_is_a_plain_table(read):
    assert read({"ratings.csv": "user,item,rating\na,x,5\n"}).format == "table"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ratings.dat", "1::1::4::9\n1::1::4\n", "ratings.dat:2: 3 fields where 4 are needed"),
        ("ratings.dat", "1::1::4::9\n\n1::2::x::9\n", "ratings.dat:3: 'x' is not a valid rating"),
        ("ratings.dat", "1::1::nan::9\n", "ratings.dat:1: 'nan' is not a valid rating"),
        ("ratings.dat", "::1::4::9\n", "ratings.dat:1: '' is not a valid user"),
        ("ratings.dat", "1::1::4::then\n", "ratings.dat:1: 'then' is not a valid timestamp"),
        ("movies.dat", "1::Toy Story\n", "movies.dat:1: 2 fields where 3 are needed"),
        ("movies.dat", "::Toy Story::Comedy\n", "movies.dat:1: no movie id"),
    ],
)
def test_malformed_lines_are_named_or_skipped(rejects, read, name, content, message):
    files = {**RELEASES["1M"], name: content}
    rejects(files, message)
    if "\n" in content.rstrip("\n"):
        data = read(files, on_error="skip")
        assert data.interactions.rows() == [("1", "1", 4.0, 9)]


def test_a_malformed_csv_is_named_by_line(rejects):
    files = RELEASES["latest"]
    rejects(
        {**files, "ratings.csv": files["ratings.csv"] + "3,1,bad,4\n"},
        "ratings.csv:4: 'bad' in column 'rating'",
    )
    rejects({**files, "movies.csv": "movieId,name\n1,x\n"}, "movies.csv:1: has no column 'title'")


@pytest.mark.parametrize(
    "options", [{"columns": {"user": "x"}}, {"date_format": "%d.%m.%Y"}], ids=["column", "date"]
)
def test_settings_that_do_not_act_are_refused(rejects, options):
    rejects(RELEASES["latest"], "does not act on this layout", **options)


def test_movielens_with_posters_is_read(real_data):
    from ld4mrec_cli.data.readers import read_source

    data = read_source(real_data("ml-posters"), PrepareConfig())
    assert data.format == "movielens"
    assert data.interactions.height == 100_836
    assert data.items.height == 9_742
    assert data.items.row(0) == (
        "1",
        "Toy Story (1995)",
        "Adventure Animation Children Comedy Fantasy",
    )
