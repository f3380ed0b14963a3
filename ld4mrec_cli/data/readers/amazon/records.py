"""Records of Amazon review data: reviews, ratings and metadata, of any generation, to tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from ld4mrec_cli.data.columns import ITEM, RATING, TIMESTAMP, TITLE, USER
from ld4mrec_cli.data.readers.amazon.generations import HEADER, Generation, has_header
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.csv_strict import Record, iter_records
from ld4mrec_cli.data.readers.html_text import plain_text
from ld4mrec_cli.data.readers.ids import id_text
from ld4mrec_cli.data.readers.json_lines import FIX_HINT, json_lines, text_lines
from ld4mrec_cli.data.readers.table import content_fields
from ld4mrec_cli.data.readers.times import concat_times
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError, nearest

Row = tuple[str, str, float, float]
COLUMNS = (USER, ITEM, RATING, TIMESTAMP)
CHUNK = 200_000
"""Rows held as Python values before they go into a table, which takes a fraction of the memory."""
ITEM_CHUNK = 20_000
TEXT_FIELDS = (TITLE, "brand", "categories", "description", "features", "details")
"""Known text fields; other fields have the name of the metadata."""
DEPTH = 8
"""Lists and dictionaries of metadata are read this deep."""


def collect(rows: Iterable[Row]) -> pl.DataFrame:
    """Gather rows of user, item, rating and time in a table.

    Times are Int64 where all are whole seconds, else Float64.
    """
    iterator = iter(rows)
    chunks = [_to_table([])]
    while chunk := list(islice(iterator, CHUNK)):
        chunks.append(_to_table(chunk))
    return concat_times(chunks)


def _to_table(rows: list[Row]) -> pl.DataFrame:
    users, items, ratings, times = zip(*rows, strict=True) if rows else ((), (), (), ())
    is_whole = all(isinstance(time, int) for time in times)
    dtypes = (pl.String, pl.String, pl.Float64, pl.Int64 if is_whole else pl.Float64)
    columns = zip(COLUMNS, (users, items, ratings, times), dtypes, strict=True)
    return pl.DataFrame([pl.Series(name, values, dtype) for name, values, dtype in columns])


def review_rows(path: Path, generation: Generation, context: ReadContext) -> Iterator[Row]:
    """Iterate over the reviews of a file.

    Raises:
        SourceError: as :func:`json_lines`, or a field is missing.
    """
    user, item, rating, time = generation.user, generation.item, generation.rating, generation.time
    ticks = generation.ticks
    for number, record in json_lines(path, context, literals=generation.literals):
        try:
            row = (
                _id_field(record, user),
                _id_field(record, item),
                float(_number_field(record, rating)),
                _to_seconds(_number_field(record, time), ticks),
            )
        except ValueError as error:
            context.report(SourceError(str(error), where=path, line=number, hint=FIX_HINT))
        else:
            yield row


def rating_rows(path: Path, generation: Generation, context: ReadContext) -> Iterator[Row]:
    """Iterate over a table of ratings, or of reviews with their texts.

    Tables of 2023 have a header; the others have four columns in a known order.

    Raises:
        SourceError: as :func:`text_lines`, or a line is malformed or has other fields.
    """
    columns = [*generation.table, RATING, TIMESTAMP]
    lines = ((number, f"{line}\n") for number, line in text_lines(path, context))
    is_first = True
    for number, fields in iter_records(lines, ",", quoted=True):
        if is_first and isinstance(fields, list) and has_header(fields):
            columns = fields
        else:
            try:
                yield _parse_rating(fields, columns, generation.ticks)
            except ValueError as error:
                context.report(SourceError(str(error), where=path, line=number, hint=FIX_HINT))
        is_first = False


def _parse_rating(fields: Record, columns: list[str], ticks: int) -> Row:
    if isinstance(fields, str):
        raise ValueError(f"malformed line ({fields})")
    if len(fields) != len(columns):
        raise ValueError(f"{len(fields)} fields where {len(columns)} are needed")
    record: dict[str, Any] = dict(zip(columns, fields, strict=True))
    user, item, rating, time = HEADER if HEADER[0] in record else (USER, ITEM, RATING, TIMESTAMP)
    for name in (rating, time):
        try:
            record[name] = _to_number(record[name])
        except ValueError:
            raise ValueError(f"'{record[name][:40]}' in field '{name}' is not a number") from None
    return (
        _id_field(record, (user,)),
        _id_field(record, (item,)),
        float(_number_field(record, (rating,))),
        _to_seconds(_number_field(record, (time,)), ticks),
    )


def _to_number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _to_seconds(time: float, ticks: int) -> float:
    """Time in seconds, an int where it is whole."""
    whole = int(time)
    if whole == time and whole % ticks == 0:
        return whole // ticks
    return time / ticks


def load_items(
    paths: list[Path],
    generation: Generation,
    context: ReadContext,
    notes: dict[str, int],
    item_ids: Set[str],
) -> pl.DataFrame:
    """Read title and text fields of some items.

    Of repeated items the first counts; ``notes`` gets the number of the others.

    Raises:
        SourceError: as :func:`json_lines`, or a line has no item id, or no item a text field.
    """
    fields = content_fields(context.options)
    names = [(TITLE,), *(generation.fields.get(name, (name,)) for name in fields)]
    schema = dict.fromkeys((ITEM, TITLE, *fields), pl.String)
    chunks = [pl.DataFrame(schema=schema)]
    seen: set[str] = set()
    repeated = 0

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal repeated
        for item, record in _select_items(paths, generation, context, item_ids):
            if item in seen:
                repeated += 1
                continue
            seen.add(item)
            yield item, *(_first_text(record, aliases) for aliases in names)

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
    """Raise SourceError for a configured text field that no item has."""
    if (
        items.is_empty()
        or context.options.text_fields == PrepareConfig.model_fields["text_fields"].default
    ):
        return
    for name in fields:
        if not (items[name] != "").any():
            hint = nearest(name, [known for known in TEXT_FIELDS if known != name])
            raise SourceError(f"no item has text in field '{name}'", where=paths[0], hint=hint)


def _select_items(
    paths: list[Path], generation: Generation, context: ReadContext, item_ids: Set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths:
        for number, record in json_lines(path, context, literals=generation.literals):
            try:
                item = _id_field(record, generation.item)
            except ValueError as error:
                context.report(SourceError(str(error), where=path, line=number, hint=FIX_HINT))
                continue
            if item in item_ids:
                yield item, record


def _id_field(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of some fields that a record has, as an id. Raises ValueError."""
    for name in names:
        value = record.get(name)
        if value is not None:
            break
    try:
        text = id_text(value)
    except ValueError as error:
        raise ValueError(f"in field '{name}': {error}") from None
    if not text:
        raise ValueError(f"no text in field '{name if value is not None else names[0]}'")
    if not text.isascii() and _whole_characters(text) != text:
        raise ValueError(f"half a character in field '{name}'")
    return text


def _number_field(record: Mapping[str, Any], names: tuple[str, ...]) -> float:
    """The first of some fields that a record has, as a number. Raises ValueError."""
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
    """Join lists and dictionaries of texts as plain text with single spaces; else empty."""
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
    return " ".join(plain_text(text).split())


def _whole_characters(text: str) -> str:
    """Put ``?`` for lone surrogates: JSON can escape half of a character, UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
