"""Write recommendation lists as a table, JSON lines, CSV, TSV or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ld4mrec_cli.cli.options import Format
from ld4mrec_cli.cli.output import Output
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    import polars as pl

    from ld4mrec_cli.serving.lists import RecommendationList

LIST_FORMATS = (Format.TABLE, Format.JSON, Format.CSV, Format.TSV, Format.PARQUET)
ENTRIES_PER_FRAME = 200_000
"""Entries of a Parquet export that are Python values at the same time."""
Write = Callable[[Iterable["RecommendationList"]], None]
"""Writes lists behind those that it has written before."""


def write_lists(lists: Iterable[RecommendationList], output: Output) -> None:
    """Write lists one after the other, while they are computed."""
    with open_writer(output) as write:
        write(lists)


@contextmanager
def open_writer(output: Output) -> Iterator[Write]:
    """Yield a function that writes lists; a file appears complete, when the block ends well."""
    if output.format is Format.PARQUET:
        with output.open_file() as path:
            frames = _Frames()
            yield frames.add
            frames.join().write_parquet(path)
        return
    with output.open_text() as stream:
        yield WRITERS[output.format](stream)


def _json_writer(stream: TextIO) -> Write:
    def write(lists: Iterable[RecommendationList]) -> None:
        for ranked in lists:
            stream.write(json.dumps(_as_object(ranked), ensure_ascii=False) + "\n")

    return write


def _csv_writer(stream: TextIO, delimiter: str = ",") -> Write:
    writer = csv.writer(_Rows(stream), delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(["user", "rank", "item", "score"])

    def write(lists: Iterable[RecommendationList]) -> None:
        for ranked in lists:
            for rank, entry in enumerate(ranked.items, start=1):
                writer.writerow([ranked.user, rank, entry.item, f"{entry.score:.7g}"])

    return write


def _tsv_writer(stream: TextIO) -> Write:
    return _csv_writer(stream, delimiter="\t")


class _Rows:
    """Ends CSV rows with a newline.

    The writer ends rows with CR and LF, because it quotes fields that contain a character of the
    row end, and a carriage return must be quoted.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def _table_writer(stream: TextIO) -> Write:
    is_first = True

    def write(lists: Iterable[RecommendationList]) -> None:
        nonlocal is_first
        for ranked in lists:
            stream.write("" if is_first else "\n")
            _write_table(ranked, stream)
            is_first = False

    return write


def _write_table(ranked: RecommendationList, stream: TextIO) -> None:
    user = "for the given history" if ranked.user is None else f"user {printable(ranked.user)}"
    stream.write(user + "\n")
    items = [printable(entry.item) for entry in ranked.items]
    width = max(map(len, items), default=4)
    for rank, (item, entry) in enumerate(zip(items, ranked.items, strict=True), start=1):
        title = printable(entry.title or "")
        line = f"{rank:4d}  {item:<{width}}  {entry.score:10.4f}  {title}"
        stream.write(line.rstrip() + "\n")


WRITERS: dict[Format, Callable[[TextIO], Write]] = {
    Format.TABLE: _table_writer,
    Format.JSON: _json_writer,
    Format.CSV: _csv_writer,
    Format.TSV: _tsv_writer,
}
"""Starts a text format on a stream."""


class _Frames:
    """Lists as frames of about ENTRIES_PER_FRAME rows."""

    def __init__(self) -> None:
        self._frames: list[pl.DataFrame] = []
        self._pending: list[RecommendationList] = []
        self._n_entries = 0

    def add(self, lists: Iterable[RecommendationList]) -> None:
        for ranked in lists:
            self._pending.append(ranked)
            self._n_entries += len(ranked.items)
            if self._n_entries >= ENTRIES_PER_FRAME:
                self._flush()

    def _flush(self) -> None:
        self._frames.append(_frame(self._pending))
        self._pending, self._n_entries = [], 0

    def join(self) -> pl.DataFrame:
        """All rows; columns and types also where there is no list."""
        import polars as pl

        self._flush()
        return pl.concat(self._frames)


def _frame(lists: Sequence[RecommendationList]) -> pl.DataFrame:
    """One row per entry, built by column: a dict per row would need many times the memory."""
    import polars as pl

    entries = [entry for ranked in lists for entry in ranked.items]
    schema = {
        "user": pl.String,
        "rank": pl.UInt32,
        "item": pl.String,
        "score": pl.Float32,
        "title": pl.String,
    }
    columns: dict[str, Sequence[Any]] = {
        "user": [ranked.user for ranked in lists for _ in ranked.items],
        "rank": [rank for ranked in lists for rank in range(1, len(ranked.items) + 1)],
        "item": [entry.item for entry in entries],
        "score": [entry.score for entry in entries],
        "title": [entry.title for entry in entries],
    }
    return pl.DataFrame(columns, schema=schema)


def _as_object(ranked: RecommendationList) -> dict[str, Any]:
    items = [
        {"item": entry.item, "score": entry.score} | ({"title": entry.title} if entry.title else {})
        for entry in ranked.items
    ]
    return {"user": ranked.user, "items": items}
