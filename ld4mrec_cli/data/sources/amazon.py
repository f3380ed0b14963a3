"""Raw Amazon review data (2018): reviews and metadata as JSON lines, gzipped or not.

Both are streamed: of a review only user, item, rating and time are kept; of the metadata the title and
the text fields of items that have a review.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from ld4mrec_cli.data.columns import ITEM, RATING, TIMESTAMP, TITLE, USER
from ld4mrec_cli.data.sources.arrays import feature_files, read_keyed
from ld4mrec_cli.data.sources.raw import RawData, RawFeatures
from ld4mrec_cli.data.sources.reading import Reading
from ld4mrec_cli.data.sources.table import content_fields
from ld4mrec_cli.errors import SourceError

PATTERNS = ("*.json", "*.json.gz", "*.jsonl", "*.jsonl.gz")
FIELD_NAMES = {"categories": ("category", "categories"), "description": ("description",), "brand": ("brand",)}
"""Our text field → what the metadata calls it."""


def read(raw: Path, reading: Reading) -> RawData:
    """Read a directory of Amazon reviews and metadata.

    Raises:
        SourceError: no review file, a truncated gzip, a line that is no JSON object or lacks a field.
    """
    reviews, metadata = split_files(raw)
    if not reviews:
        raise SourceError("holds no review file (such as Gift_Cards_5.json.gz)", where=raw)
    interactions = pl.concat([_read_reviews(path, reading) for path in reviews])
    if interactions.is_empty():
        raise SourceError("holds no review", where=reviews[0])
    wanted = set(interactions[ITEM].unique())
    items, notes = _read_metadata(metadata, wanted, reading)
    features: dict[str, RawFeatures] = {}
    for name, path in feature_files(raw).items():
        if path.suffix != ".parquet":
            raise SourceError("its rows cannot be told apart here; give Parquet keyed by item", where=path)
        features[name] = read_keyed(path, reading)
    files = [*reviews, *metadata, *(feature.path for feature in features.values())]
    return RawData("amazon", interactions, items, features, files, notes)


def split_files(raw: Path) -> tuple[list[Path], list[Path]]:
    """The review files and the metadata files (``meta_*``) of a directory."""
    found = sorted({path for pattern in PATTERNS for path in raw.glob(pattern)})
    return [p for p in found if not p.name.startswith("meta")], [p for p in found if p.name.startswith("meta")]


def _read_reviews(path: Path, reading: Reading) -> pl.DataFrame:
    users: list[str] = []
    items: list[str] = []
    ratings: list[float] = []
    times: list[int] = []
    for number, record in json_lines(path):
        users.append(_text_field(record, "reviewerID", path, number))
        items.append(_text_field(record, "asin", path, number))
        ratings.append(float(_number_field(record, "overall", path, number)))
        times.append(int(_number_field(record, "unixReviewTime", path, number)))
    columns = {USER: users, ITEM: items, RATING: ratings, TIMESTAMP: times}
    return pl.DataFrame(columns, schema={USER: pl.String, ITEM: pl.String, RATING: pl.Float64, TIMESTAMP: pl.Int64})


def _read_metadata(paths: list[Path], wanted: set[str], reading: Reading) -> tuple[pl.DataFrame, dict[str, int]]:
    fields = content_fields(reading.options)
    rows: dict[str, dict[str, str]] = {}
    repeated = 0
    for path in paths:
        for number, record in json_lines(path):
            item = _text_field(record, "asin", path, number)
            if item not in wanted:
                continue
            if item in rows:
                repeated += 1
                continue
            row = {ITEM: item, TITLE: clean_text(record.get("title"))}
            for name in fields:
                names = FIELD_NAMES.get(name, (name,))
                row[name] = next((clean_text(record[n]) for n in names if record.get(n)), "")
            rows[item] = row
    schema = dict.fromkeys((ITEM, TITLE, *fields), pl.String)
    return pl.DataFrame(list(rows.values()), schema=schema), {"repeated items": repeated} if repeated else {}


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over line number and object of a JSON-lines file, gzipped where the name ends in ``.gz``.

    Raises:
        SourceError: a damaged gzip, a line that is not UTF-8 or not a JSON object.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as handle:
            for number, line in enumerate(handle, start=1):
                if not line.strip():
                    continue
                record = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                if not isinstance(record, dict):
                    raise SourceError("not a JSON object", where=path, line=number)
                yield number, record
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"damaged gzip ({error})", where=path, line=number + 1, hint="Fetch the file again") from None
    except UnicodeDecodeError:
        raise SourceError("is not UTF-8 text", where=path, line=number) from None
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"not valid JSON ({error})", where=path, line=number, hint="Mend or remove the line"
        ) from None
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})", where=path) from None


def _text_field(record: dict[str, Any], name: str, path: Path, number: int) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise SourceError(f"no text in field '{name}'", where=path, line=number, hint="Mend or remove the line")
    if _whole_characters(value) != value:
        raise SourceError(
            f"half a character in field '{name}'", where=path, line=number, hint="Mend or remove the line"
        )
    return value.strip()


def _number_field(record: dict[str, Any], name: str, path: Path, number: int) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**62:
        raise SourceError(f"no number in field '{name}'", where=path, line=number, hint="Mend or remove the line")
    return value


def clean_text(value: Any) -> str:
    """Join lists, resolve HTML entities, drop tags and fold white space; anything else than text is empty."""
    if isinstance(value, list):
        return " ".join(filter(None, (clean_text(part) for part in value)))
    if not isinstance(value, str):
        return ""
    return " ".join(re.sub(r"<[^>]*>", " ", html.unescape(_whole_characters(value))).split())


def _whole_characters(text: str) -> str:
    """Put ``?`` for lone surrogates: JSON can escape half of a character, but UTF-8 cannot hold it."""
    return text.encode("utf-8", "replace").decode("utf-8")
