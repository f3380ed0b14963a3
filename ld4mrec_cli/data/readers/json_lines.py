"""Text files read as a stream: their lines, and JSON (or Python literals) line by line.

Gzip is recognized by the content. Whole blocks of lines are decoded at once and parsed without a
call in between, so that most of the time goes to gzip and to the JSON parser. Memory holds one
block, and no line may be longer than ``MAX_LINE``.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ld4mrec_cli.data.readers.content import (
    BOM,
    GZIP_ERRORS,
    Stream,
    damaged_gzip,
    open_content,
)
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.utils.errors import SourceError

FIX_HINT = "Mend or remove it, or leave such lines out with --on-error skip"
MAX_LINE = 1 << 24
MAX_LITERAL = 1 << 20
"""A Python literal takes a hundred times its length to parse, so it may be no longer than this."""
BLOCK = 1 << 18
PROGRESS_EVERY_BYTES = 1 << 20
"""Bytes of the file between two calls of ``on_read``."""
SNIFF_LINES = 20

_decode = json.JSONDecoder().raw_decode


def text_lines(path: Path, context: ReadContext) -> Iterator[tuple[int, str]]:
    """Iterate over number and text of the lines that are not blank, without a byte order mark.

    Raises:
        SourceError: a damaged gzip, an endless line; or, unless ``context`` skips such lines, one
            that is not UTF-8.
    """
    for first, block in _blocks(path, context):
        try:
            lines = block.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            lines = [
                _decode_line(line, path, first + row, context)
                for row, line in enumerate(block.split(b"\n"))
            ]
        for number, line in enumerate(lines, start=first):
            if line and not line.isspace():
                yield number, line


def json_lines(
    path: Path, context: ReadContext, *, literals: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over line number and object of a JSON-lines file.

    Args:
        literals: a line may also be a Python dictionary, as in the metadata of 2014.

    Raises:
        SourceError: a damaged gzip; or, unless ``context`` skips such lines, one that is not UTF-8
            or not a JSON object.
    """
    parse = parse_literal if literals else parse_json
    for number, line in text_lines(path, context):
        try:
            record = parse(line)
        except (ValueError, RecursionError) as error:
            context.report(
                SourceError(f"not valid JSON ({error})", where=path, line=number, hint=FIX_HINT)
            )
            continue
        if type(record) is dict:
            yield number, record
        else:
            context.report(SourceError("not a JSON object", where=path, line=number, hint=FIX_HINT))


def parse_json(line: str) -> Any:
    """Parse a line of JSON. Raises ValueError or RecursionError."""
    try:
        record, end = _decode(line)
    except ValueError:
        # It begins with white space, or is faulty and gets the usual message.
        return json.loads(line)
    if end != len(line) and not line[end:].isspace():
        raise ValueError(f"extra data at column {end + 1}")
    return record


def parse_literal(line: str) -> Any:
    """Parse a line of JSON or, failing that, a Python literal; no code runs. Raises ValueError."""
    try:
        return parse_json(line)
    except (ValueError, RecursionError):
        pass
    if len(line) > MAX_LITERAL:
        raise ValueError(f"nor a Python literal of at most {MAX_LITERAL:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes such as "\d"
            return ast.literal_eval(line.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or str(error) or "nested too deeply"
        raise ValueError(f"nor a Python literal: {reason[:80]}") from None


def first_lines(path: Path) -> list[str]:
    """The first lines of a file that are not blank, at most ``SNIFF_LINES``. Raises SourceError."""
    _, block = next(_blocks(path, None), (1, b""))
    lines = (
        line.decode("utf-8", "replace").strip()
        for line in block.split(b"\n", SNIFF_LINES)[:SNIFF_LINES]
    )
    return [line for line in lines if line]


def _decode_line(line: bytes, path: Path, number: int, context: ReadContext) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        context.report(SourceError("is not UTF-8 text", where=path, line=number, hint=FIX_HINT))
        return ""


def _blocks(path: Path, context: ReadContext | None) -> Iterator[tuple[int, bytes]]:
    """Iterate over blocks of whole lines, each with the number of its first line.

    A file whose first piece has carriage returns and no line feed has the line ends of old Macs.
    """
    number, rest, is_old_mac = 1, b"", False
    try:
        with open_content(path) as (stream, handle):
            for index, content in enumerate(_pieces(path, stream, handle, context)):
                if index == 0:
                    is_old_mac = b"\r" in content[:-1] and b"\n" not in content
                piece = content.replace(b"\r", b"\n") if is_old_mac else content
                cut = piece.rfind(b"\n")
                if cut < 0:
                    rest += piece
                    if len(rest) > MAX_LINE:
                        raise SourceError(
                            f"a line is longer than {MAX_LINE:,} bytes", where=path, line=number
                        )
                    continue
                block = rest + piece[:cut]
                rest = piece[cut + 1 :]
                yield number, block.removeprefix(BOM) if number == 1 else block
                number += block.count(b"\n") + 1
    except GZIP_ERRORS as error:
        raise damaged_gzip(error, path, number) from None
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})", where=path) from None
    if rest:
        yield number, rest.removeprefix(BOM) if number == 1 else rest


def _pieces(
    path: Path, stream: Stream, handle: IO[bytes], context: ReadContext | None
) -> Iterator[bytes]:
    """Iterate over the unpacked content, and report the progress in the file to ``context``."""
    # read1 of gzip returns the bytes before a fault, so that the fault has its right line
    read: Callable[[int], bytes] = handle.read if stream is handle else stream.read1
    total, reported = path.stat().st_size, 0
    while piece := read(BLOCK):
        yield piece
        if context is not None and handle.tell() - reported >= PROGRESS_EVERY_BYTES:
            reported = handle.tell()
            context.on_read(path, reported, total)
    if context is not None:
        context.on_read(path, total, total)
