"""Delimited text and Parquet as tables of raw data, with the malformed line named.

Polars reads whole columns; only where something is wrong is the file read again, line by line, to name
the first bad line or to leave such lines out.
"""

from __future__ import annotations

import codecs
import csv
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal, TextIO

import polars as pl

from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.utils.errors import SourceError
from ld4mrec_cli.utils.panics import quiet_panics

FIX_HINT = "Mend or remove it, or leave such lines out with --on-error skip"
CHUNK = 100_000
"""Lines gathered before they become columns."""
SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SPELLED = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
Record = list[str] | str
"""The fields of a line, or what keeps it from having any."""


def read_table(path: Path, context: ReadContext) -> pl.DataFrame:
    """Read a delimited or Parquet table; delimited columns come as strings.

    Raises:
        SourceError: the file is missing, empty or not text, its header names a column twice or has
            another separator; or, unless ``reading`` leaves such lines out, a line is malformed or has
            another number of fields.
    """
    if not path.is_file():
        raise SourceError("no such file", where=path)
    try:
        return _read_parquet(path) if path.suffix == ".parquet" else _read_delimited(path, context)
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror or error})", where=path) from None


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        with quiet_panics():
            return pl.read_parquet(path, glob=False)
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
    ) as error:  # damaged files can panic
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(f"cannot be read as parquet ({reason})", where=path) from None


def _read_delimited(path: Path, context: ReadContext) -> pl.DataFrame:
    header = read_header(path)
    try:
        frame = pl.read_csv(
            path,
            separator=_separator(path),
            infer_schema=False,
            quote_char=_quote(path),
            glob=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return _read_line_by_line(path, header, context)
    if frame.columns != header:
        return _read_line_by_line(path, header, context)
    if not bool(frame[frame.columns[-1]].is_null().any()):
        return frame
    # A line may be too short, blank, or have nothing between its separators.
    if any(_fault_of(record, header) for _, record in islice(_records(path), 1, None)):
        return _read_line_by_line(path, header, context)
    return frame.filter(~pl.all_horizontal(pl.all().is_null()))


def _read_line_by_line(path: Path, header: list[str], context: ReadContext) -> pl.DataFrame:
    """Read delimited text and hand ``reading`` the malformed lines."""
    schema = dict.fromkeys(header, pl.String)
    kept: list[list[str | None]] = []
    chunks = [pl.DataFrame(schema=schema)]
    for line, record in islice(_records(path), 1, None):
        fault = _fault_of(record, header)
        if fault:
            context.report(
                SourceError(fault, where=path, line=line, hint=None if context.skips else FIX_HINT)
            )
        else:
            kept.append([value or None for value in record])
        if len(kept) == CHUNK:  # columns take far less memory than lists of fields
            chunks.append(pl.DataFrame(kept, schema=schema, orient="row"))
            kept = []
    return pl.concat([*chunks, pl.DataFrame(kept, schema=schema, orient="row")])


def read_header(path: Path) -> list[str]:
    """Read the column names of delimited text, its first line that is not blank.

    Raises:
        SourceError: the file is not text; there is no header, it is malformed, names a column twice or has
            another separator.
    """
    _check_encoding(path)
    line, header = next(_records(path), (1, None))
    if header is None:
        raise SourceError("is empty", where=path)
    if isinstance(header, str):
        raise SourceError(f"malformed line ({header})", where=path, line=line)
    twice = next((name for place, name in enumerate(header) if name in header[:place]), None)
    if twice is not None:
        raise SourceError(
            f"names column '{twice}' twice", where=path, line=line, hint="Rename one of the two"
        )
    others = [mark for mark in _SPELLED if len(header) == 1 and mark in header[0]]
    if others:
        found, wanted = _SPELLED[others[0]], _SPELLED[_separator(path)]
        suffix = next((known for known, mark in SEPARATORS.items() if mark == others[0]), None)
        hint = f"Save it with {wanted}" + (f", or name it {path.stem}{suffix}" if suffix else "")
        raise SourceError(
            f"has {found} between its columns, a {path.suffix} file has {wanted}",
            where=path,
            line=line,
            hint=hint,
        )
    return header


def _fault_of(record: Record, header: list[str]) -> str | None:
    if isinstance(record, str):
        return f"malformed line ({record})"
    if len(record) != len(header):
        return f"{len(record)} fields where the header has {len(header)}"
    return None if any(record) else "no value in any column"


def _separator(path: Path) -> str:
    return SEPARATORS.get(path.suffix, "\t")


def _quote(path: Path) -> str | None:
    return '"' if path.suffix == ".csv" else None


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    """Iterate over the records of delimited text that are not blank, with the line where each begins.

    After a quote that is not closed, or closed in the middle of a field, reading goes on at the next
    line: one broken quote does not swallow the lines that follow.
    """
    quoting: Literal[0, 3] = 0 if _quote(path) else 3  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE
    taken: list[str] = []
    again: deque[str] = deque()
    line = 1
    with path.open(encoding="utf-8-sig", newline="\n") as handle:
        while True:
            reader = csv.reader(
                _lines(handle, taken, again),
                delimiter=_separator(path),
                quoting=quoting,
                strict=True,
            )
            try:
                for fields in reader:
                    if fields:
                        yield line, fields
                    line += len(taken)
                    taken.clear()
                return
            except csv.Error as error:
                yield line, str(error)
                again.extendleft(reversed(taken[1:]))
                line += 1
                taken.clear()


def _lines(handle: TextIO, taken: list[str], again: deque[str]) -> Iterator[str]:
    """Iterate over lines to be read ``again``, then those of ``handle``; ``taken`` collects what was given out."""
    while line := again.popleft() if again else handle.readline():
        taken.append(line)
        yield line


def report_bad_lines(path: Path, bad_lines: Mapping[int, str], context: ReadContext) -> None:
    """Hand ``reading`` the bad_lines of some rows of a table that was read, counted from 0.

    Raises:
        SourceError: malformed lines are an error, or too many; it names the line where the table is text.
    """
    first = dict(
        sorted(bad_lines.items())[: context.options.max_errors + 1]
        if context.skips
        else [min(bad_lines.items())]
    )
    lines = {} if path.suffix == ".parquet" else _lines_of(path, set(first))
    hint = None if context.skips else FIX_HINT
    for row, fault in first.items():
        what = fault if row in lines else f"row {row + 1}: {fault}"
        context.report(SourceError(what, where=path, line=lines.get(row), hint=hint))


def _lines_of(path: Path, rows: set[int]) -> dict[int, int]:
    """The lines where some rows begin, found in one pass; malformed lines became no row."""
    records = _records(path)
    _, header = next(records)
    whole = (line for line, record in records if not _fault_of(record, list(header)))
    return {row: line for row, line in enumerate(islice(whole, max(rows) + 1)) if row in rows}


def _check_encoding(path: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as handle:
        try:
            while chunk := handle.read(1 << 20):
                if "\0" in decoder.decode(chunk):
                    break
            else:
                decoder.decode(b"", final=True)
                return
        except UnicodeDecodeError:
            pass
        handle.seek(0)
        for number, line in enumerate(handle, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise SourceError("is not UTF-8 text", where=path, line=number) from None
            if "\0" in text:
                raise SourceError("holds a NUL byte", where=path, line=number)
