"""MovieLens as GroupLens publishes it.

===================  =========================  ==================================
release              interactions               movies
===================  =========================  ==================================
latest, 20M to 32M   ``ratings.csv``            ``movies.csv``
1M, 10M              ``ratings.dat`` (``::``)   ``movies.dat`` (``::``)
100K                 ``u.data`` (tabs)          ``u.item`` (``|``, flags of genres)
===================  =========================  ==================================

Titles keep their year; genres are the text field ``categories`` (or ``genres``). Tags of the users
(``tags.csv``, ``tags.dat``) are the text field ``tags``; they are read where
``prepare.text_fields`` names it.
Source: https://grouplens.org/datasets/movielens/ and the README of each release.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import ITEM, RATING, TIMESTAMP, TITLE, USER
from ld4mrec_cli.data.readers.arrays import read_keyed_features
from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.readers.columns import check_settings_act, interactions_from
from ld4mrec_cli.data.readers.content import GZIP_ERRORS, open_content, read_content
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import FIX_HINT, read_table, report_bad_lines
from ld4mrec_cli.data.readers.events import weigh_ratings
from ld4mrec_cli.data.readers.html_text import plain_texts
from ld4mrec_cli.data.readers.table import content_fields
from ld4mrec_cli.utils.errors import SourceError

GENRE_FIELDS = ("categories", "genres")
TAGS = "tags"
NO_GENRES = "(no genres listed)"
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip
"""Genres of the flags in ``u.item``, in the order of ``u.genre``."""
_GENRES = "genres"
_LINE = "line"
_RATINGS = (USER, ITEM, RATING, TIMESTAMP)
_MOVIES = (ITEM, TITLE, _GENRES)
_MOVIES_100K = (ITEM, TITLE, "release_date", "video_release_date", "url", *GENRES_100K)
_CSV_HEADERS: dict[tuple[str, ...], tuple[str, ...]] = {
    _MOVIES: ("movieId", "title", "genres"),
    (USER, ITEM, TAGS): ("userId", "movieId", "tag"),
}


@dataclass(frozen=True)
class Release:
    """File names and separators of a kind of release; no separator is CSV with a header."""

    ratings: str
    movies: str
    tags: str | None = None
    ratings_separator: str | None = None
    movies_separator: str | None = None
    movie_columns: tuple[str, ...] = _MOVIES


RELEASES = (
    Release("ratings.csv", "movies.csv", "tags.csv"),
    Release("ratings.dat", "movies.dat", "tags.dat", "::", "::"),
    Release("u.data", "u.item", None, "\t", "|", _MOVIES_100K),
)


def fits(raw: Path) -> bool:
    """Whether a directory has the ratings of a release."""
    return _find_release(raw) is not None


def read(raw: Path, context: ReadContext) -> RawData:
    """Read a directory of a MovieLens release. Without its movies there is no item content.

    Raises:
        SourceError: no ratings, or a malformed line.
    """
    release = _find_release(raw)
    if release is None:
        names = ", ".join(known.ratings for known in RELEASES)
        raise SourceError(f"holds no ratings of MovieLens ({names})", where=raw)
    check_settings_act(raw, context.options)
    ratings = raw / release.ratings
    interactions = _read_ratings(ratings, release.ratings_separator, context)
    items = pl.DataFrame({ITEM: interactions[ITEM].unique(maintain_order=True)})
    files, item_files = [ratings], []
    notes: dict[str, int] = {}
    if (raw / release.movies).is_file():
        item_files = [raw / release.movies]
        items = _read_movies(item_files[0], release, context, notes)
    if TAGS in content_fields(context.options) and release.tags and (raw / release.tags).is_file():
        tags = _read_tags(raw / release.tags, release.ratings_separator, context)
        items = items.join(tags, on=ITEM, how="left", maintain_order="left")
        files.append(raw / release.tags)
    features = read_keyed_features(raw, context)
    files += [*item_files, *(feature.path for feature in features.values())]
    return RawData(
        "movielens", interactions, lambda _: items, features, files, notes, item_files=item_files
    )


def _find_release(raw: Path) -> Release | None:
    return next((release for release in RELEASES if _has_ratings(raw / release.ratings)), None)


def _has_ratings(path: Path) -> bool:
    """Whether a file is there; a ``ratings.csv`` needs the header of MovieLens."""
    if path.suffix != ".csv" or not path.is_file():
        return path.is_file()
    try:
        with open_content(path) as (stream, _):
            line = stream.readline(1 << 12).partition(b"\r")[0]
    except (OSError, SourceError, *GZIP_ERRORS):
        return False
    header = line.decode("utf-8-sig", "replace")
    return header.replace('"', "").strip().split(",")[:2] == ["userId", "movieId"]


def _read_ratings(path: Path, separator: str | None, context: ReadContext) -> pl.DataFrame:
    if separator is None:
        return interactions_from(read_table(path, context), path, context)
    table = _read_lines(path, separator, _RATINGS, context)
    rating = pl.col(RATING).cast(pl.Float64, strict=False)
    parsed = table.select(
        _LINE,
        *(pl.col(name).replace("", None) for name in (USER, ITEM)),
        pl.when(rating.is_finite()).then(rating).alias(RATING),
        pl.col(TIMESTAMP).cast(pl.Int64, strict=False),
    )
    for row in parsed.select(pl.any_horizontal(pl.all().is_null())).to_series().arg_true():
        name = next(name for name in _RATINGS if parsed[name][row] is None)
        what = f"'{table[name][row]}' is not a valid {name}"
        line = int(parsed[_LINE][row])
        context.report(SourceError(what, where=path, line=line, hint=FIX_HINT))
    parsed = parsed.drop_nulls().drop(_LINE)
    if parsed.is_empty():
        raise SourceError("holds no interaction", where=path)
    return weigh_ratings(parsed, path, context)


def _read_movies(
    path: Path, release: Release, context: ReadContext, notes: dict[str, int]
) -> pl.DataFrame:
    """Titles and genres, one row per movie; ``notes`` count the repeated movies."""
    table = _read_text(path, release.movies_separator, release.movie_columns, context)
    if release.movie_columns == _MOVIES_100K:
        flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES_100K[1:]]
        genres = pl.concat_str(flags, separator=" ", ignore_nulls=True)
    else:
        genres = pl.col(_GENRES).replace(NO_GENRES, None).str.replace_all("|", " ", literal=True)
    fields = [name for name in content_fields(context.options) if name in GENRE_FIELDS]
    items = table.select(ITEM, TITLE, *(genres.alias(name) for name in fields))
    items = items.with_columns(plain_texts(items[TITLE]))
    unique = items.unique(subset=ITEM, keep="first", maintain_order=True)
    if len(unique) < len(items):
        notes["repeated items"] = len(items) - len(unique)
    return unique


def _read_tags(path: Path, separator: str | None, context: ReadContext) -> pl.DataFrame:
    """The different tags of each movie, joined in the order of the file."""
    columns = (USER, ITEM, TAGS) if separator is None else (USER, ITEM, TAGS, TIMESTAMP)
    table = _read_text(path, separator, columns, context).drop_nulls(TAGS)
    tags = pl.col(TAGS).unique(maintain_order=True).str.join(" ")
    return table.group_by(ITEM, maintain_order=True).agg(tags)


def _read_text(
    path: Path, separator: str | None, columns: tuple[str, ...], context: ReadContext
) -> pl.DataFrame:
    """Read a file of movies or tags as text; a row without an item id is malformed."""
    if separator is not None:
        table = _read_lines(path, separator, columns, context)
        for line in table.filter(pl.col(ITEM) == "")[_LINE]:
            what = "no movie id"
            context.report(SourceError(what, where=path, line=int(line), hint=FIX_HINT))
        return table.filter(pl.col(ITEM) != "")
    table = read_table(path, context)
    header = _CSV_HEADERS[columns]
    missing = [name for name in header if name not in table.columns]
    if missing:
        raise SourceError(f"has no column '{missing[0]}'", where=path, line=1)
    table = table.select(
        pl.col(name).str.strip_chars().alias(ours)
        for name, ours in zip(header, columns, strict=True)
    )
    is_empty = table[ITEM].fill_null("") == ""
    if is_empty.any():
        report_bad_lines(path, dict.fromkeys(is_empty.arg_true(), "no movie id"), context)
    return table.filter(~is_empty)


def _read_lines(
    path: Path, separator: str, columns: tuple[str, ...], context: ReadContext
) -> pl.DataFrame:
    """Read a file without header, quotes or escapes: its text columns and ``line``, from 1."""
    lines = pl.Series(_LINE, [_decode(path)]).str.split("\n").explode().str.strip_chars("\r")
    table = lines.alias("text").to_frame().with_row_index(_LINE, offset=1)
    fields = pl.col("text").str.split(separator)
    table = table.filter(pl.col("text") != "").select(_LINE, fields.alias("fields"))
    n_fields = table["fields"].list.len()
    for row in (n_fields != len(columns)).arg_true():
        what = f"{n_fields[row]} fields where {len(columns)} are needed"
        line = int(table[_LINE][row])
        context.report(SourceError(what, where=path, line=line, hint=FIX_HINT))
    texts = [
        pl.col("fields").list.get(place).str.strip_chars().alias(name)
        for place, name in enumerate(columns)
    ]
    return table.filter(n_fields == len(columns)).select(_LINE, *texts)


def _decode(path: Path) -> str:
    """Text of a file, with line feeds: UTF-8 (10M), else latin-1 (100K and 1M)."""
    try:
        content = read_content(path).tobytes()
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror or error})", where=path) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text if "\n" in text else text.replace("\r", "\n")
