"""The three generations of the Amazon review data: names of their fields, how to recognize them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ld4mrec_cli.data.columns import ITEM, USER
from ld4mrec_cli.data.readers.csv_strict import iter_records
from ld4mrec_cli.data.readers.json_lines import first_lines, parse_json, parse_literal
from ld4mrec_cli.utils.errors import SourceError


@dataclass(frozen=True)
class Generation:
    """Names and units of one generation. Of several names the first that a record has counts."""

    name: str
    user: tuple[str, ...]
    item: tuple[str, ...]
    rating: tuple[str, ...]
    time: tuple[str, ...]
    ticks: int
    """Units of the timestamp in a second."""
    table: tuple[str, str]
    """Order of the first two columns of a ratings table without header."""
    literals: bool
    """Whether a line may be a Python dictionary rather than JSON."""
    fields: Mapping[str, tuple[str, ...]]
    """Our text field → its names in the metadata; a field that is not here has the same name."""


_OLD = (("reviewerID",), ("asin",), ("overall",), ("unixReviewTime",), 1)
GENERATIONS = {
    generation.name: generation
    for generation in (
        Generation(
            "2023",
            ("user_id",),
            ("parent_asin", "asin"),
            ("rating",),
            ("timestamp",),
            1000,
            (USER, ITEM),
            literals=False,
            fields={"brand": ("store", "brand"), "categories": ("categories", "main_category")},
        ),
        Generation(
            "2018",
            *_OLD,
            (ITEM, USER),
            literals=False,
            fields={"categories": ("category", "categories"), "features": ("feature", "features")},
        ),
        Generation(
            "2014",
            *_OLD,
            (USER, ITEM),
            literals=True,
            fields={"categories": ("categories", "category"), "features": ("feature", "features")},
        ),
    )
}
DEFAULT = "2018"

HEADER = ("user_id", "parent_asin", "rating", "timestamp")
"""The header of a ratings table of 2023; the earlier ones have none."""
REVIEW_MARKS = {
    "2023": {"parent_asin", "user_id"},
    "2018": {"verified", "style", "vote", "image"},
    "2014": {"helpful"},
}
"""Fields of a review that only this generation has, or no later one."""
METADATA_MARKS = {
    "2023": {"parent_asin"},
    "2018": {"category", "feature", "also_buy", "main_cat", "imageURL"},
    "2014": {"categories", "imUrl", "related", "salesRank"},
}
"""Likewise for metadata."""
NAME_MARK = ("reviews_", "ratings_")
"""Beginnings of the file names of 2014, used where the content does not decide."""
_USER_ID, _ITEM_ID = re.compile(r"A[0-9A-Z]{9,}"), re.compile(r"[0-9A-Z]{10}")


def recognize(reviews: list[Path], ratings: list[Path], metadata: list[Path]) -> Generation:
    """The one generation that all files are of.

    Raises:
        SourceError: two files are of different generations, or one cannot be read.
    """
    generations = {path: _of_records(path, REVIEW_MARKS) or _of_name(path) for path in reviews}
    generations |= {path: _of_records(path, METADATA_MARKS) for path in metadata}
    generations |= {path: table_generation(path) for path in ratings}
    known = [(path, name) for path, name in generations.items() if name is not None]
    for path, name in known:
        other, first = known[0]
        if name != first:
            raise SourceError(
                "mixes generations of the Amazon data: "
                f"{other.name} is of {first}, {path.name} of {name}",
                where=path.parent,
                hint="Keep each generation in its own directory",
            )
    return GENERATIONS[known[0][1] if known else DEFAULT]


def _of_records(path: Path, marks: Mapping[str, set[str]]) -> str | None:
    """The generation that the first records show, if they do."""
    for line in first_lines(path):
        record, is_literal = _parse_any(line)
        if isinstance(record, dict):
            name = next((name for name, fields in marks.items() if fields & record.keys()), None)
            return "2014" if is_literal else name
    return None


def _parse_any(line: str) -> tuple[object, bool]:
    for parse in (parse_json, parse_literal):
        try:
            return parse(line.removeprefix("\ufeff")), parse is parse_literal
        except (ValueError, RecursionError):
            continue
    return None, False


def _of_name(path: Path) -> str | None:
    return "2014" if path.name.startswith(NAME_MARK) else None


def has_header(fields: list[str]) -> bool:
    """Whether the first fields of a table are the header of ratings or reviews of 2023."""
    return set(HEADER) <= set(fields)


def table_generation(path: Path) -> str | None:
    """The generation of a table of ratings or reviews: by its header, else by the form of its ids.

    None where it is no such table, or where it has no header and does not show which of the first
    two columns holds the users: the orders of 2014 and 2018 differ.
    """
    rows = _first_rows(path)
    if rows and has_header(rows[0]):
        return "2023"
    rows = [row for row in rows if len(row) == 4]
    if not is_headerless(path):
        return None
    user_first = sum(bool(_USER_ID.fullmatch(a) and _ITEM_ID.fullmatch(b)) for a, b, *_ in rows)
    item_first = sum(bool(_ITEM_ID.fullmatch(a) and _USER_ID.fullmatch(b)) for a, b, *_ in rows)
    if user_first == item_first or max(user_first, item_first) <= len(rows) / 2:
        return _of_name(path)
    return "2014" if user_first > item_first else "2018"


def is_headerless(path: Path) -> bool:
    """Whether the first line of a table holds a rating rather than names of columns."""
    rows = _first_rows(path)
    return bool(rows) and _is_rating(rows[0])


def _first_rows(path: Path) -> list[list[str]]:
    lines = [line.removeprefix("\ufeff") for line in first_lines(path)]
    records = iter_records(enumerate(line + "\n" for line in lines), ",", quoted=True)
    return [record for _, record in records if isinstance(record, list)]


def _is_rating(row: list[str]) -> bool:
    """Whether fields are two ids, a rating and a Unix time in seconds since 1995 or so."""
    return bool(
        len(row) == 4
        and all(row[:2])
        and re.fullmatch(r"[0-5](\.[0-9]+)?", row[2])
        and re.fullmatch(r"[0-9]{9,10}", row[3])
    )
