"""Tables of raw data: delimited text and Parquet, with the fault named by file and line.

Polars reads whole columns; only where a column turns out faulty is the file read again, line by line,
to name the first bad line.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

import polars as pl

from ld4mrec_cli.config import ColumnName
from ld4mrec_cli.data.columns import ITEM, LABEL, LABEL_VALUES, RATING, TIMESTAMP, USER, USUAL_NAMES, plain_name
from ld4mrec_cli.data.sources.reading import Reading
from ld4mrec_cli.errors import SourceError, nearest

MEND = "Mend or remove it, or leave such lines out with --on-error skip"
SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}


def read_table(path: Path, reading: Reading) -> pl.DataFrame:
    """Read a delimited or Parquet table; delimited columns come as strings.

    Raises:
        SourceError: the file is missing, empty or not text; or, unless ``reading`` leaves such lines
            out, a line has another number of fields.
    """
    if not path.is_file():
        raise SourceError("no such file", where=path)
    if reading.skips and path.suffix != ".parquet":
        return _read_line_by_line(path, reading)
    try:
        return pl.read_parquet(path, glob=False) if path.suffix == ".parquet" else _read_delimited(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:  # damaged Parquet can panic
        if path.suffix != ".parquet":
            find_bad_line(path)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(f"cannot be read as {path.suffix.lstrip('.') or 'a table'} ({reason})", where=path) from None


def _read_delimited(path: Path) -> pl.DataFrame:
    _check_encoding(path)
    separator = SEPARATORS.get(path.suffix, "\t")
    frame = pl.read_csv(path, separator=separator, infer_schema=False, quote_char=_quote(path), glob=False)
    if frame.width and bool(frame[frame.columns[-1]].is_null().any()):
        find_bad_line(path)  # a line may be too short, or have nothing between its separators
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))  # or blank
    return frame


def _read_line_by_line(path: Path, reading: Reading) -> pl.DataFrame:
    """Read delimited text without the lines that are malformed."""
    _check_encoding(path)
    records = _records(path)
    _, header = next(records, (0, None))
    if header is None or len(set(header)) != len(header):
        raise SourceError("is empty" if header is None else "names a column twice", where=path, line=1)
    kept: list[list[str | None]] = []
    for line, fields in records:
        fault = _fault_of_fields(fields, header)
        if fault:
            reading.fault(SourceError(fault, where=path, line=line))
        else:
            kept.append([value or None for value in fields])
    return pl.DataFrame(kept, schema=dict.fromkeys(header, pl.String), orient="row")


def _quote(path: Path) -> str | None:
    return '"' if path.suffix == ".csv" else None


def interactions_from(frame: pl.DataFrame, path: Path, reading: Reading) -> pl.DataFrame:
    """Pick and check the columns of an interaction table.

    Raises:
        SourceError: a column is missing; or, unless ``reading`` leaves such lines out, a line lacks an
            id or has a value that is not a number.
    """
    found = find_columns(
        frame, path, reading.options.columns, required=(USER, ITEM), optional=(RATING, TIMESTAMP, LABEL)
    )
    if frame.is_empty():
        raise SourceError("holds no interaction", where=path)
    parsed = frame.select(
        _ids(frame, found[USER]).alias(USER),
        _ids(frame, found[ITEM]).alias(ITEM),
        *(_PARSERS[name](frame, found[name]).alias(name) for name in (RATING, TIMESTAMP, LABEL) if name in found),
    )
    if not sum(parsed.null_count().row(0)):
        return parsed
    faulty = parsed.select(pl.any_horizontal(pl.all().is_null())).to_series()
    faults = {}
    for row in faulty.arg_true().head(reading.options.max_errors + 1):
        name = next(name for name in parsed.columns if parsed[name][row] is None)
        faults[row] = _fault(name, found[name], frame[found[name]][row])
    meet_faults(path, faults, reading)
    if faulty.all():
        raise SourceError("holds no interaction", where=path)
    return parsed.filter(~faulty)


def find_columns(
    frame: pl.DataFrame,
    path: Path,
    mapping: Mapping[ColumnName, str],
    required: tuple[ColumnName, ...],
    optional: tuple[ColumnName, ...] = (),
) -> dict[str, str]:
    """Find our columns among the table's: our name → the table's name.

    Raises:
        SourceError: a mapped or required column is not there, or a column holds lists or the like.
    """
    plain = {plain_name(column.split(":")[0]): column for column in reversed(frame.columns)}
    found: dict[str, str] = {}
    for name in (*required, *optional):
        if name in mapping:
            if mapping[name] not in frame.columns:
                hint = nearest(mapping[name], frame.columns)
                raise SourceError(f"has no column '{mapping[name]}'", where=path, hint=hint)
            found[name] = mapping[name]
        else:
            match = next((plain[usual] for usual in USUAL_NAMES.get(name, (name,)) if usual in plain), None)
            if match is not None:
                found[name] = match
    for name in required:
        if name not in found:
            columns = ", ".join(frame.columns)
            raise SourceError(
                f"has no {name} column among: {columns}",
                where=path,
                line=1 if path.suffix != ".parquet" else None,
                hint=f"Name it with --set 'prepare.columns={{{name}: COLUMN}}'",
            )
    for column in found.values():
        check_plain(frame.schema[column], column, path)
    return found


def check_plain(dtype: pl.DataType, column: str, path: Path) -> None:
    """Raise SourceError where a (Parquet) column holds neither text, numbers nor dates."""
    if dtype.is_nested() or dtype in (pl.Binary, pl.Time, pl.Duration):
        raise SourceError(f"column '{column}' holds {dtype}; text, numbers or dates are needed", where=path)


def find_bad_line(path: Path) -> None:
    """Read delimited text line by line and raise SourceError at the first malformed one, if any.

    Malformed are lines that are not UTF-8, have another number of fields than the header or only
    empty ones.
    """
    _check_encoding(path)
    records = _records(path)
    _, header = next(records, (0, None))
    if header is None:
        raise SourceError("is empty", where=path)
    for line, fields in records:
        fault = _fault_of_fields(fields, header)
        if fault:
            raise SourceError(fault, where=path, line=line, hint=MEND)


def _fault_of_fields(fields: list[str], header: list[str]) -> str | None:
    if len(fields) != len(header):
        return f"{len(fields)} fields where the header has {len(header)}"
    return None if any(fields) else "no value in any column"


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the records of delimited text that are not blank, with the line where each begins."""
    quoting: Literal[0, 3] = 0 if _quote(path) else 3  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE
    separator = SEPARATORS.get(path.suffix, "\t")
    with path.open(encoding="utf-8-sig", newline="\n") as handle:
        reader = csv.reader(handle, delimiter=separator, quoting=quoting, strict=True)
        line = 1
        try:
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise SourceError(f"malformed line ({error})", where=path, line=line) from None


def meet_faults(path: Path, faults: Mapping[int, str], reading: Reading) -> None:
    """Hand ``reading`` the faults of some rows (counted from 0), each with its line where the table is text."""
    first = dict(sorted(faults.items())[: reading.options.max_errors + 1] if reading.skips else [min(faults.items())])
    lines = {} if path.suffix == ".parquet" else _lines_of(path, set(first))
    for row, fault in first.items():
        if row in lines:
            reading.fault(SourceError(fault, where=path, line=lines[row], hint=MEND))
        else:
            reading.fault(SourceError(f"row {row + 1}: {fault}", where=path, hint=MEND))


def _lines_of(path: Path, rows: set[int]) -> dict[int, int]:
    """The lines where some rows begin, found in one pass."""
    data = islice(_records(path), 1, max(rows) + 2)
    return {row: line for row, (line, _) in enumerate(data) if row in rows}


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


def _fault(name: str, column: str, value: object) -> str:
    if value is None or value == "":
        return f"no value in column '{column}'"
    wanted = {
        RATING: "a finite number",
        TIMESTAMP: "a number of seconds or an ISO date",
        LABEL: "one of " + ", ".join(LABEL_VALUES),
    }
    return f"'{value}' in column '{column}' is not {wanted.get(name, 'an id')}"


def _ids(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Ids as strings; an empty id is null."""
    text = pl.col(column).cast(pl.String)
    if frame.schema[column] == pl.String:
        text = text.str.strip_chars()
    return pl.when(text.str.len_bytes() > 0).then(text)


def _number(frame: pl.DataFrame, column: str) -> pl.Expr:
    source = pl.col(column)
    if frame.schema[column] == pl.String:
        source = source.str.strip_chars()
    value = source.cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def _timestamp(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Whole numbers as they are (nanoseconds are more than a float holds), dates as seconds since 1970."""
    dtype = frame.schema[column]
    if dtype.is_temporal():
        return pl.col(column).cast(pl.Datetime("ms")).dt.epoch("s")
    number = _number(frame, column)
    value = pl.when(number.abs() < 2**62).then(number).cast(pl.Int64, strict=False)
    if dtype.is_integer():
        return pl.col(column).cast(pl.Int64, strict=False)
    if dtype != pl.String:
        return value
    whole = pl.col(column).str.strip_chars().cast(pl.Int64, strict=False)
    iso = pl.col(column).str.strip_chars().str.replace("T", " ").str.strip_chars_end("Z")
    date = pl.coalesce(
        iso.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False),
        iso.str.to_datetime("%Y-%m-%d %H:%M", strict=False),
        iso.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
    )
    return pl.coalesce(whole, value, date.dt.epoch("s"))


def _label(frame: pl.DataFrame, column: str) -> pl.Expr:
    text = pl.col(column).cast(pl.String).str.strip_chars().str.to_lowercase()
    return text.replace_strict(LABEL_VALUES, default=None, return_dtype=pl.Int8)


_PARSERS: dict[str, Callable[[pl.DataFrame, str], pl.Expr]] = {
    USER: _ids,
    ITEM: _ids,
    RATING: _number,
    TIMESTAMP: _timestamp,
    LABEL: _label,
}
