"""Delimited text and Parquet as tables of raw data; messages name the malformed line.

Polars reads the columns where one pass over the bytes shows that it reads the same as the strict
rules of Python's csv. All other files are read record by record: each malformed line is an error,
or is skipped and counted.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from ld4mrec_cli.data.readers.content import (
    GZIP_ERRORS,
    damaged_gzip,
    data_suffix,
    open_content,
    part_files,
    read_content,
)
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.csv_strict import Record, count_records, iter_records
from ld4mrec_cli.utils.errors import SourceError
from ld4mrec_cli.utils.panics import quiet_panics

FIX_HINT = "Mend or remove it, or leave such lines out with --on-error skip"
CHUNK = 100_000
"""Lines gathered before they become columns."""
SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SEPARATOR_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def read_table(path: Path, context: ReadContext) -> pl.DataFrame:
    """Read a delimited or Parquet table; delimited columns come as strings, empty values as null.

    Delimited text may be gzipped. A directory of Parquet parts, as Spark writes it, is one table.

    Raises:
        SourceError: the file is missing, empty or not text, its header names a column twice or has
            another separator; or, unless ``context`` skips such lines, a line is malformed or has
            another number of fields.
    """
    if not path.exists():
        raise SourceError("no such file", where=path)
    try:
        parts = part_files(path)
        if data_suffix(path) == ".parquet":
            return _read_parquet(path, parts)
        return _read_delimited(path, context)
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror or error})", where=path) from None


def _read_parquet(path: Path, parts: list[Path]) -> pl.DataFrame:
    try:
        with quiet_panics():
            return pl.concat([pl.read_parquet(part, glob=False) for part in parts])
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
    ) as error:  # damaged files can panic
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(f"cannot be read as parquet ({reason})", where=path) from None


def _read_delimited(path: Path, context: ReadContext) -> pl.DataFrame:
    header = read_header(path)
    content = read_content(path)
    n_records = count_records(content, _separator(path), len(header), quoted=_is_quoted(path))
    frame = None if n_records is None else _read_fast(path, content, header)
    if frame is not None and len(frame) + 1 == n_records:
        return frame
    return _read_line_by_line(path, header, context)


def _read_fast(path: Path, content: np.ndarray, header: list[str]) -> pl.DataFrame | None:
    """Read well-formed text by polars; None where a line is blank or empty."""
    try:
        frame = pl.read_csv(
            path if isinstance(content, np.memmap) else io.BytesIO(content.tobytes()),
            separator=_separator(path),
            infer_schema=False,
            quote_char='"' if _is_quoted(path) else None,
            glob=False,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    if frame.columns != header:
        return None
    frame = frame.with_columns(pl.when(pl.all().str.len_bytes() > 0).then(pl.all()))
    if bool(frame.select(pl.all_horizontal(pl.all().is_null()).any()).item()):
        return None
    return frame


def _read_line_by_line(path: Path, header: list[str], context: ReadContext) -> pl.DataFrame:
    """Read delimited text and report the malformed lines to ``context``."""
    schema = dict.fromkeys(header, pl.String)
    rows: list[list[str | None]] = []
    chunks = [pl.DataFrame(schema=schema)]
    for line, record in islice(_records(path), 1, None):
        fault = _fault_of(record, header)
        if fault:
            hint = None if context.skips else FIX_HINT
            context.report(SourceError(fault, where=path, line=line, hint=hint))
        else:
            rows.append([value or None for value in record])
        if len(rows) == CHUNK:  # columns take far less memory than lists of fields
            chunks.append(pl.DataFrame(rows, schema=schema, orient="row"))
            rows = []
    return pl.concat([*chunks, pl.DataFrame(rows, schema=schema, orient="row")])


def read_header(path: Path) -> list[str]:
    """Read the column names of delimited text, its first line that is not blank.

    Raises:
        SourceError: the file is not text; there is no header, it is malformed, names a column
            twice or has another separator.
    """
    _check_encoding(path)
    line, header = next(_records(path), (1, None))
    if header is None:
        raise SourceError("is empty", where=path)
    if isinstance(header, str):
        raise SourceError(f"malformed line ({header})", where=path, line=line)
    repeated = next((name for place, name in enumerate(header) if name in header[:place]), None)
    if repeated is not None:
        raise SourceError(
            f"names column '{repeated}' twice", where=path, line=line, hint="Rename one of the two"
        )
    if len(header) == 1:
        _check_separator(header[0], path, line)
    return header


def _check_separator(header: str, path: Path, line: int) -> None:
    """Raise SourceError where a header of one column holds another separator."""
    other = next((separator for separator in _SEPARATOR_NAMES if separator in header), None)
    if other is None:
        return
    right = _SEPARATOR_NAMES[_separator(path)]
    suffix = next((suffix for suffix, mark in SEPARATORS.items() if mark == other), None)
    name = f", or name it {path.name.split('.')[0]}{suffix}" if suffix else ""
    raise SourceError(
        f"has {_SEPARATOR_NAMES[other]} between its columns, "
        f"a {data_suffix(path)} file has {right}",
        where=path,
        line=line,
        hint=f"Save it with {right}{name}",
    )


def _fault_of(record: Record, header: list[str]) -> str | None:
    if isinstance(record, str):
        return f"malformed line ({record})"
    if len(record) != len(header):
        return f"{len(record)} fields where the header has {len(header)}"
    return None if any(record) else "no value in any column"


def _separator(path: Path) -> str:
    return SEPARATORS.get(data_suffix(path), "\t")


def _is_quoted(path: Path) -> bool:
    return data_suffix(path) == ".csv"


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    """Iterate over the records of delimited text as :func:`iter_records` does."""
    with open_content(path) as (stream, _):
        # With newline="" a carriage return ends a line too, as on old Macs, and is not translated.
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        lines = enumerate(text, start=1)
        yield from iter_records(lines, _separator(path), quoted=_is_quoted(path))


def report_bad_lines(path: Path, bad_lines: Mapping[int, str], context: ReadContext) -> None:
    """Report faults of a table that was read: number of the row, counted from 0 → fault.

    Raises:
        SourceError: malformed lines are an error, or too many; it names the line in a text file.
    """
    first = dict(
        sorted(bad_lines.items())[: context.options.max_errors + 1]
        if context.skips
        else [min(bad_lines.items())]
    )
    lines = {} if data_suffix(path) == ".parquet" else _lines_of(path, set(first))
    hint = None if context.skips else FIX_HINT
    for row, fault in first.items():
        what = fault if row in lines else f"row {row + 1}: {fault}"
        context.report(SourceError(what, where=path, line=lines.get(row), hint=hint))


def line_of(path: Path, row: int) -> int | None:
    """Line where a row of a table begins; None in Parquet. Rows are counted from 0."""
    return None if data_suffix(path) == ".parquet" else _lines_of(path, {row})[row]


def _lines_of(path: Path, rows: set[int]) -> dict[int, int]:
    """The lines where some rows begin, found in one pass; malformed lines became no row."""
    records = _records(path)
    _, header = next(records)
    lines = (line for line, record in records if not _fault_of(record, list(header)))
    return {row: line for row, line in enumerate(islice(lines, max(rows) + 1)) if row in rows}


def _check_encoding(path: Path) -> None:
    """Raise SourceError where a file is not UTF-8 text, or its gzip is damaged."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open_content(path) as (stream, _):
            while chunk := stream.read(1 << 20):
                if "\0" in decoder.decode(chunk):
                    break
            else:
                decoder.decode(b"", final=True)
                return
    except UnicodeDecodeError:
        pass
    except GZIP_ERRORS as error:
        raise damaged_gzip(error, path) from None
    with open_content(path) as (stream, _):
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                raise SourceError("is not UTF-8 text", where=path, line=number) from None
            if "\0" in text:
                raise SourceError("holds a NUL byte", where=path, line=number)
