"""Records of Amazon review data: reviews, ratings and metadata, of any generation, to tables."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from ld4mrec_cli.data.columns import ITEM, RATING, TIMESTAMP, TITLE, USER
from ld4mrec_cli.data.readers.amazon.generations import HEADER, Generation, has_header
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.json_lines import FIX_HINT, json_lines, text_lines
from ld4mrec_cli.data.readers.table import content_fields
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError, nearest

Row = tuple[str, str, float, int]
SCHEMA = {USER: pl.String, ITEM: pl.String, RATING: pl.Float64, TIMESTAMP: pl.Int64}
CHUNK = 200_000
"""Rows held as Python values before they go into a table, whose columns take a fraction of the memory."""
ITEM_CHUNK = 20_000
TEXT_FIELDS = (TITLE, "brand", "categories", "description", "features", "details")
"""Text fields that are known; others go by the name that the metadata has."""
DEPTH = 8
"""Lists and dictionaries of metadata are read this deep."""


def collect(rows: Iterable[Row]) -> pl.DataFrame:
    """Gather rows of user, item, rating and time in a table."""
    iterator = iter(rows)
    chunks = [pl.DataFrame(schema=SCHEMA)]
    while chunk := list(islice(iterator, CHUNK)):
        columns = dict(zip(SCHEMA, zip(*chunk, strict=True), strict=True))
        chunks.append(pl.DataFrame(columns, schema=SCHEMA))
    return pl.concat(chunks)


def review_rows(path: Path, generation: Generation, context: ReadContext) -> Iterator[Row]:
    """Iterate over the reviews of a file. Raises SourceError as :func:`json_lines`, or where a field is missing."""
    user, item, rating, time = generation.user, generation.item, generation.rating, generation.time
    ticks = generation.ticks
    for number, record in json_lines(path, context, literals=generation.literals):
        try:
            row = (
                _text_field(record, user),
                _text_field(record, item),
                float(_number_field(record, rating)),
                int(_number_field(record, time)) // ticks,
            )
        except ValueError as error:
            context.report(SourceError(str(error), where=path, line=number, hint=FIX_HINT))
        else:
            yield row


def rating_rows(path: Path, generation: Generation, context: ReadContext) -> Iterator[Row]:
    """Iterate over a ratings-only table: that of 2023 has a header, the others four columns in a known order.

    Raises:
        SourceError: as :func:`text_lines`, or where a line has other fields.
    """
    columns = [*generation.table, RATING, TIMESTAMP]
    for number, text in text_lines(path, context):
        line = text.rstrip("\r")
        if number == 1 and has_header(line):
            columns = line.split(",")
            continue
        try:
            yield _rating(line.split(","), columns, generation.ticks)
        except ValueError as error:
            context.report(SourceError(str(error), where=path, line=number, hint=FIX_HINT))


def _rating(fields: list[str], columns: list[str], ticks: int) -> Row:
    if len(fields) != len(columns):
        raise ValueError(f"{len(fields)} fields where {len(columns)} are needed")
    record: dict[str, Any] = dict(zip(columns, fields, strict=True))
    user, item, rating, time = HEADER if HEADER[0] in record else (USER, ITEM, RATING, TIMESTAMP)
    for name, number in ((rating, float), (time, int)):
        try:
            record[name] = number(record[name])
        except ValueError:
            raise ValueError(f"'{record[name][:40]}' in field '{name}' is not a number") from None
    return (
        _text_field(record, (user,)),
        _text_field(record, (item,)),
        float(_number_field(record, (rating,))),
        int(_number_field(record, (time,))) // ticks,
    )


def load_items(
    paths: list[Path],
    generation: Generation,
    context: ReadContext,
    notes: dict[str, int],
    wanted: Set[str],
) -> pl.DataFrame:
    """Read title and text fields of the wanted items; of repeated ones the first, and ``notes`` count the others.

    Raises:
        SourceError: as :func:`json_lines`, or where a line has no item id, or no item a field that was asked for.
    """
    fields = content_fields(context.options)
    names = [(TITLE,), *(generation.fields.get(name, (name,)) for name in fields)]
    schema = dict.fromkeys((ITEM, TITLE, *fields), pl.String)
    chunks = [pl.DataFrame(schema=schema)]
    seen: set[str] = set()
    repeated = 0

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal repeated
        for item, record in _wanted_items(paths, generation, context, wanted):
            if item in seen:
                repeated += 1
                continue
            seen.add(item)
            yield item, *(_first_text(record, known) for known in names)

    iterator = rows()
    while chunk := list(islice(iterator, ITEM_CHUNK)):
        columns = dict(zip(schema, zip(*chunk, strict=True), strict=True))
        chunks.append(pl.DataFrame(columns, schema=schema))
    if repeated:
        notes["repeated items"] = repeated
    items = pl.concat(chunks)
    _check_fields(items, fields, paths, context)
    return items


def _check_fields(
    items: pl.DataFrame, fields: list[str], paths: list[Path], context: ReadContext
) -> None:
    """Raise SourceError for a text field that the user asked for and no item has."""
    if (
        items.is_empty()
        or context.options.text_fields == PrepareConfig.model_fields["text_fields"].default
    ):
        return
    for name in fields:
        if not (items[name] != "").any():
            hint = nearest(name, [known for known in TEXT_FIELDS if known != name])
            raise SourceError(f"no item has text in field '{name}'", where=paths[0], hint=hint)


def _wanted_items(
    paths: list[Path], generation: Generation, context: ReadContext, wanted: Set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths:
        for number, record in json_lines(path, context, literals=generation.literals):
            try:
                item = _text_field(record, generation.item)
            except ValueError as error:
                context.report(SourceError(str(error), where=path, line=number, hint=FIX_HINT))
                continue
            if item in wanted:
                yield item, record


def _text_field(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of some fields that is there, as text. Raises ValueError."""
    for name in names:
        value = record.get(name)
        if value is not None:
            break
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise ValueError(f"no text in field '{name if value is not None else names[0]}'")
    if not text.isascii() and _whole_characters(text) != text:
        raise ValueError(f"half a character in field '{name}'")
    return text


def _number_field(record: Mapping[str, Any], names: tuple[str, ...]) -> float:
    """The first of some fields that is there, as a number. Raises ValueError."""
    for name in names:
        value = record.get(name)
        if value is not None:
            break
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**62:
        raise ValueError(f"no number in field '{name}'")
    return value


def _first_text(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((clean_text(record[name]) for name in names if record.get(name)), "")


def clean_text(value: Any, depth: int = DEPTH) -> str:
    """Join lists and dictionaries, resolve HTML entities, drop tags and fold white space; else empty."""
    if isinstance(value, str):
        return _clean(value)
    if depth and isinstance(value, list | tuple):
        return " ".join(filter(None, (clean_text(part, depth - 1) for part in value)))
    if depth and isinstance(value, dict):
        pairs = ((clean_text(name, 0), clean_text(part, depth - 1)) for name, part in value.items())
        return " ".join(f"{name} {part}" for name, part in pairs if part)
    return ""


def _clean(text: str) -> str:
    if not text.isascii():
        text = _whole_characters(text)
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())


def _whole_characters(text: str) -> str:
    """Put ``?`` for lone surrogates: JSON can escape half of a character, but UTF-8 cannot hold it."""
    return text.encode("utf-8", "replace").decode("utf-8")
