"""Text files read as a stream: their lines, and JSON (or Python literals) line by line, gzipped or not.

Whole blocks of lines are decoded at once and parsed without a call in between, so that most of the time
goes to gzip and to the JSON parser. Memory holds one block, and no line may be longer than ``MAX_LINE``.
"""

from __future__ import annotations

import ast
import gzip
import json
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

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
    """Iterate over the lines that are not blank, with their number; a byte order mark is passed over.

    Raises:
        SourceError: a damaged gzip, an endless line; or, unless ``reading`` leaves such lines out, one
            that is not UTF-8.
    """
    for first, block in _blocks(path, context):
        try:
            lines = block.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            lines = [
                _decoded(line, path, first + row, context)
                for row, line in enumerate(block.split(b"\n"))
            ]
        for number, line in enumerate(lines, start=first):
            if line and not line.isspace():
                yield number, line


def json_lines(
    path: Path, context: ReadContext, *, literals: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over line number and object of a JSON-lines file, gzipped where the name ends in ``.gz``.

    Args:
        literals: a line may also be a Python dictionary, as in the metadata of 2014.

    Raises:
        SourceError: a damaged gzip; or, unless ``reading`` leaves such lines out, one that is not UTF-8
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
        return json.loads(
            line
        )  # it begins with white space, or is at fault and gets the usual message
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
    """The first lines of a file that are text and not blank, at most ``SNIFF_LINES``. Raises SourceError."""
    _, block = next(_blocks(path, None), (1, b""))
    lines = (
        line.decode("utf-8", "replace").strip()
        for line in block.split(b"\n", SNIFF_LINES)[:SNIFF_LINES]
    )
    return [line for line in lines if line]


def _decoded(line: bytes, path: Path, number: int, context: ReadContext) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        context.report(SourceError("is not UTF-8 text", where=path, line=number, hint=FIX_HINT))
        return ""


def _blocks(path: Path, context: ReadContext | None) -> Iterator[tuple[int, bytes]]:
    """Iterate over blocks of whole lines, each with the number of its first line."""
    number, rest = 1, b""
    try:
        with path.open("rb") as handle:
            for piece in _pieces(path, handle, context):
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
                yield number, block.removeprefix(b"\xef\xbb\xbf") if number == 1 else block
                number += block.count(b"\n") + 1
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(
            f"damaged gzip ({error})", where=path, line=number, hint="Fetch the file again"
        ) from None
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})", where=path) from None
    if rest:
        yield number, rest.removeprefix(b"\xef\xbb\xbf") if number == 1 else rest


def _pieces(path: Path, handle: IO[bytes], context: ReadContext | None) -> Iterator[bytes]:
    """Iterate over the decompressed content, and tell who watches how much of the file is read."""
    read: Callable[[int], bytes] = handle.read
    if path.suffix == ".gz":
        read = gzip.GzipFile(
            fileobj=handle, mode="rb"
        ).read1  # what is there, so that a fault has its right line
    total, told = path.stat().st_size, 0
    while piece := read(BLOCK):
        yield piece
        if context is not None and handle.tell() - told >= PROGRESS_EVERY_BYTES:
            told = handle.tell()
            context.on_read(path, told, total)
    if context is not None:
        context.on_read(path, total, total)
