"""Write recommendation lists as a table, JSON lines, CSV, TSV or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ld4mrec_cli.cli.options import Format
from ld4mrec_cli.cli.output import Output
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    import polars as pl

    from ld4mrec_cli.serving.recommender import RecommendationList

LIST_FORMATS = (Format.TABLE, Format.JSON, Format.CSV, Format.TSV, Format.PARQUET)
ENTRIES_PER_FRAME = 200_000
"""Entries of a Parquet export that are Python values at the same time."""


def write_lists(lists: Iterable[RecommendationList], output: Output) -> None:
    """Write lists one after the other, while they are computed."""
    if output.format is Format.PARQUET:
        with output.open_file() as path:
            _write_parquet(lists, path)
        return
    with output.open_text() as stream:
        WRITERS[output.format](lists, stream)


def _write_json(lists: Iterable[RecommendationList], stream: TextIO) -> None:
    for ranked in lists:
        stream.write(json.dumps(_as_object(ranked), ensure_ascii=False) + "\n")


def _write_csv(lists: Iterable[RecommendationList], stream: TextIO, delimiter: str = ",") -> None:
    writer = csv.writer(_Rows(stream), delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(["user", "rank", "item", "score"])
    for ranked in lists:
        for rank, entry in enumerate(ranked.items, start=1):
            writer.writerow([ranked.user, rank, entry.item, f"{entry.score:.7g}"])


def _write_tsv(lists: Iterable[RecommendationList], stream: TextIO) -> None:
    _write_csv(lists, stream, delimiter="\t")


class _Rows:
    """Ends CSV rows with a newline.

    The writer ends rows with CR and LF, because it quotes fields that contain a character of the
    row end, and a carriage return must be quoted.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def _write_table(lists: Iterable[RecommendationList], stream: TextIO) -> None:
    for number, ranked in enumerate(lists):
        user = "for the given history" if ranked.user is None else f"user {printable(ranked.user)}"
        stream.write(("\n" if number else "") + user + "\n")
        items = [printable(entry.item) for entry in ranked.items]
        width = max(map(len, items), default=4)
        for rank, (item, entry) in enumerate(zip(items, ranked.items, strict=True), start=1):
            title = printable(entry.title or "")
            line = f"{rank:4d}  {item:<{width}}  {entry.score:10.4f}  {title}"
            stream.write(line.rstrip() + "\n")


WRITERS: dict[Format, Callable[[Iterable[RecommendationList], TextIO], None]] = {
    Format.TABLE: _write_table,
    Format.JSON: _write_json,
    Format.CSV: _write_csv,
    Format.TSV: _write_tsv,
}
"""Writer of each text format."""


def _write_parquet(lists: Iterable[RecommendationList], path: Path) -> None:
    import polars as pl

    pl.concat(list(_frames(lists))).write_parquet(path)


def _frames(lists: Iterable[RecommendationList]) -> Iterator[pl.DataFrame]:
    """The lists as frames of about ENTRIES_PER_FRAME rows, at least one frame."""
    pending: list[RecommendationList] = []
    n_entries = 0
    for ranked in lists:
        pending.append(ranked)
        n_entries += len(ranked.items)
        if n_entries >= ENTRIES_PER_FRAME:
            yield _frame(pending)
            pending, n_entries = [], 0
    yield _frame(pending)


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
