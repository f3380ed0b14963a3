"""Write lists of items, for users or for items, as a table, JSON lines, CSV, TSV or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from ld4mrec_cli.cli.options import Format
from ld4mrec_cli.cli.output import Output
from ld4mrec_cli.utils.text import printable

if TYPE_CHECKING:
    import polars as pl

    from ld4mrec_cli.serving.lists import RecommendationList, RecommendedItem, SimilarItems

ENTRIES_PER_FRAME = 200_000
"""Entries of a Parquet export that are Python values at the same time."""
Write = Callable[[Iterable[Any]], None]
"""Writes lists of a layout behind those that it has written before."""


@dataclass(frozen=True)
class Layout:
    """How lists of one kind are written; each list has ``items``."""

    key: str
    """Column, and attribute of a list: whom or what it is for."""
    entry: str
    """Column of the listed items."""
    head: Callable[[Any], dict[str, Any]]
    """Of a list, what its JSON object has before the items."""
    heading: Callable[[Any], str]
    """Line above a list in the table."""
    has_reasons: bool = False
    """Whether the entries have reasons, for a column of their own."""


def _user_heading(ranked: RecommendationList) -> str:
    return "for the given history" if ranked.user is None else f"user {printable(ranked.user)}"


def _item_head(ranked: SimilarItems) -> dict[str, Any]:
    return {"item": ranked.item} | ({"title": ranked.title} if ranked.title else {})


def _item_heading(ranked: SimilarItems) -> str:
    return f"similar to {printable(ranked.item)}  {printable(ranked.title or '')}".rstrip()


USER_LISTS = Layout("user", "item", lambda ranked: {"user": ranked.user}, _user_heading)
ITEM_LISTS = Layout("item", "similar", _item_head, _item_heading)


def write_lists(lists: Iterable[Any], output: Output, layout: Layout = USER_LISTS) -> None:
    """Write lists one after the other, while they are computed."""
    with open_writer(output, layout) as write:
        write(lists)


@contextmanager
def open_writer(output: Output, layout: Layout = USER_LISTS) -> Iterator[Write]:
    """Yield a function that writes lists; a file appears complete, when the block ends well."""
    if output.format is Format.PARQUET:
        with output.open_file() as path:
            frames = _Frames(layout)
            yield frames.add
            frames.join().write_parquet(path)
        return
    with output.open_text() as stream:
        yield WRITERS[output.format](stream, layout)


def _json_writer(stream: TextIO, layout: Layout) -> Write:
    def write(lists: Iterable[Any]) -> None:
        for ranked in lists:
            line = layout.head(ranked) | {"items": list(map(_as_object, ranked.items))}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    return write


def _csv_writer(stream: TextIO, layout: Layout, delimiter: str = ",") -> Write:
    writer = csv_writer(stream, delimiter)
    writer.writerow(
        [layout.key, "rank", layout.entry, "score", *(["reasons"] * layout.has_reasons)]
    )

    def write(lists: Iterable[Any]) -> None:
        for ranked in lists:
            key = getattr(ranked, layout.key)
            for rank, entry in enumerate(ranked.items, start=1):
                reasons = [_join_reasons(entry)] if layout.has_reasons else []
                writer.writerow([key, rank, entry.item, f"{entry.score:.7g}", *reasons])

    return write


def _tsv_writer(stream: TextIO, layout: Layout) -> Write:
    return _csv_writer(stream, layout, delimiter="\t")


def csv_writer(stream: TextIO, delimiter: str = ",") -> Any:
    """A writer of the standard library whose rows end with a newline."""
    return csv.writer(_Rows(stream), delimiter=delimiter, lineterminator="\r\n")


class _Rows:
    """Ends CSV rows with a newline.

    The writer ends rows with CR and LF, because it quotes fields that contain a character of the
    row end, and a carriage return must be quoted.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def _table_writer(stream: TextIO, layout: Layout) -> Write:
    is_first = True

    def write(lists: Iterable[Any]) -> None:
        nonlocal is_first
        for ranked in lists:
            stream.write("" if is_first else "\n")
            stream.write(layout.heading(ranked) + "\n")
            _write_table(ranked.items, stream)
            is_first = False

    return write


def _write_table(entries: Sequence[RecommendedItem], stream: TextIO) -> None:
    items = [printable(entry.item) for entry in entries]
    width = max(map(len, items), default=4)
    for rank, (item, entry) in enumerate(zip(items, entries, strict=True), start=1):
        title = printable(entry.title or "")
        line = f"{rank:4d}  {item:<{width}}  {entry.score:10.4f}  {title}"
        stream.write(line.rstrip() + "\n")
        if entry.reasons:
            names = (f"{printable(r.title or r.item)} ({r.share:.4g})" for r in entry.reasons)
            stream.write(f"      because of {', '.join(names)}\n")


WRITERS: dict[Format, Callable[[TextIO, Layout], Write]] = {
    Format.TABLE: _table_writer,
    Format.JSON: _json_writer,
    Format.CSV: _csv_writer,
    Format.TSV: _tsv_writer,
}
"""Starts a text format on a stream."""


class _Frames:
    """Lists as frames of about ENTRIES_PER_FRAME rows."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._frames: list[pl.DataFrame] = []
        self._pending: list[Any] = []
        self._n_entries = 0

    def add(self, lists: Iterable[Any]) -> None:
        for ranked in lists:
            self._pending.append(ranked)
            self._n_entries += len(ranked.items)
            if self._n_entries >= ENTRIES_PER_FRAME:
                self._flush()

    def _flush(self) -> None:
        self._frames.append(_frame(self._pending, self._layout))
        self._pending, self._n_entries = [], 0

    def join(self) -> pl.DataFrame:
        """All rows; columns and types also where there is no list."""
        import polars as pl

        self._flush()
        return pl.concat(self._frames)


def _frame(lists: Sequence[Any], layout: Layout) -> pl.DataFrame:
    """One row per entry, built by column: a dict per row would need many times the memory."""
    import polars as pl

    entries = [entry for ranked in lists for entry in ranked.items]
    schema = {
        layout.key: pl.String,
        "rank": pl.UInt32,
        layout.entry: pl.String,
        "score": pl.Float32,
        "title": pl.String,
    }
    columns: dict[str, Sequence[Any]] = {
        layout.key: [getattr(ranked, layout.key) for ranked in lists for _ in ranked.items],
        "rank": [rank for ranked in lists for rank in range(1, len(ranked.items) + 1)],
        layout.entry: [entry.item for entry in entries],
        "score": [entry.score for entry in entries],
        "title": [entry.title for entry in entries],
    }
    if layout.has_reasons:
        schema["reasons"] = pl.String
        columns["reasons"] = list(map(_join_reasons, entries))
    return pl.DataFrame(columns, schema=schema)


def _as_object(entry: RecommendedItem) -> dict[str, Any]:
    whole = {"item": entry.item, "score": entry.score} | _title(entry.title)
    if entry.reasons is not None:
        whole["reasons"] = [
            {"item": one.item, **_title(one.title), "share": one.share} for one in entry.reasons
        ]
    return whole


def _title(title: str | None) -> dict[str, Any]:
    return {"title": title} if title else {}


def _join_reasons(entry: RecommendedItem) -> str:
    """Ids of the reasons in one line of CSV, as ``--history`` reads them."""
    line = io.StringIO()
    csv_writer(line).writerow(reason.item for reason in entry.reasons or ())
    return line.getvalue().removesuffix("\n")
