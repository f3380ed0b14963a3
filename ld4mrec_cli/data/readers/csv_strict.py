"""CSV and TSV by the strict rules of Python's ``csv`` module, with the line of each record.

:func:`count_records` says in one pass over the bytes whether a file keeps the rules. Then
a fast parser reads the same rows. :func:`iter_records` is the slow reader, which names each fault.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from typing import Literal

import numpy as np

from ld4mrec_cli.data.readers.content import BOM

Record = list[str] | str
"""The fields of a record, or the fault that keeps it from having any."""
QUOTE = '"'
MAX_FIELD = 2**31 - 1
"""Longest field in characters; the limit of Python's csv is 131,072 unless it is raised."""
_STEP = 1 << 24
_CR, _LF = 13, 10
_PLAIN_WORDS = {
    "unexpected end of data": "a quote is opened and never closed",
    "new-line character seen": "a carriage return stands in a field that is not quoted",
    "expected after": 'a quote inside a quoted field must be doubled, as ""',
}
"""Part of a message of Python's csv → the fault in plain words."""

csv.field_size_limit(MAX_FIELD)


def iter_records(
    lines: Iterator[tuple[int, str]], separator: str, *, quoted: bool
) -> Iterator[tuple[int, Record]]:
    """Iterate over the records that are not blank, with the line where each begins.

    A record that breaks the rules is a fault. Reading then goes on at the next line: one broken
    quote does not swallow the lines that follow.

    Args:
        lines: number and text of each line, with its line end.
        quoted: a field may stand in double quotes; otherwise a quote is text.
    """
    current: list[tuple[int, str]] = []
    pending: deque[tuple[int, str]] = deque()
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    while True:
        texts = _next_lines(lines, current, pending)
        reader = csv.reader(texts, delimiter=separator, quoting=quoting, strict=True)
        try:
            for fields in reader:
                if fields:
                    yield current[0][0], fields
                current.clear()
            return
        except csv.Error as error:
            yield current[0][0], _describe(error)
            pending.extendleft(reversed(current[1:]))
            current.clear()


def _next_lines(
    lines: Iterator[tuple[int, str]],
    current: list[tuple[int, str]],
    pending: deque[tuple[int, str]],
) -> Iterator[str]:
    """Iterate over ``pending`` lines, then ``lines``; ``current`` collects those of one record."""
    while True:
        line = pending.popleft() if pending else next(lines, None)
        if line is None:
            return
        current.append(line)
        yield line[1]


def _describe(error: csv.Error) -> str:
    message = str(error)
    return next((words for part, words in _PLAIN_WORDS.items() if part in message), message)


def count_records(content: np.ndarray, separator: str, width: int, *, quoted: bool) -> int | None:
    """Count the records where all bytes keep the strict rules, else None.

    The rules: a quote opens a field only at its start, and closes it only at its end; a quote
    within is doubled; every quote is closed; a carriage return stands before a line feed; each
    record has ``width`` fields. The n-th quote, counted from 0, opens where n is even. A doubled
    quote counts as closing and opening again, so the bytes beside each quote decide.

    Args:
        content: ``(n,)`` uint8.
    """
    first = len(BOM) if bytes(content[: len(BOM)]) == BOM else 0
    n_quotes = n_separators = n_records = 0
    last_end = -1
    for start in range(0, len(content), _STEP):
        chunk = content[start : start + _STEP]
        quotes = np.flatnonzero(chunk == ord(QUOTE)) + start if quoted else np.empty(0, np.int64)
        returns = np.flatnonzero(chunk == _CR) + start
        if not _are_valid(content, separator, quotes, n_quotes, returns, first):
            return None
        separators, ends = (
            _outside(np.flatnonzero(chunk == byte) + start, quotes, n_quotes)
            for byte in (ord(separator), _LF)
        )
        before_ends = n_separators + np.searchsorted(separators, ends)
        if (before_ends != (width - 1) * (n_records + 1 + np.arange(len(ends)))).any():
            return None
        n_quotes += len(quotes)
        n_separators += len(separators)
        n_records += len(ends)
        last_end = int(ends[-1]) if len(ends) else last_end
    n_records += last_end != len(content) - 1  # the last line may have no end
    return n_records if n_quotes % 2 == 0 and n_separators == (width - 1) * n_records else None


def _are_valid(
    content: np.ndarray,
    separator: str,
    quotes: np.ndarray,
    n_before: int,
    returns: np.ndarray,
    first: int,
) -> bool:
    """Whether quotes and carriage returns at some positions, ``n_before`` quotes before, are valid.

    ``first`` is the position where the text begins.
    """
    beside = np.zeros(256, dtype=bool)
    beside[[ord(separator), _CR, _LF, ord(QUOTE)]] = True
    opening, closing = quotes[n_before % 2 :: 2], quotes[1 - n_before % 2 :: 2]
    opening = opening[opening > first]
    return bool(
        beside[content[opening - 1]].all()
        and beside[_next_bytes(content, closing, fill=_LF)].all()
        and (_next_bytes(content, returns, fill=0) == _LF).all()
    )


def _outside(positions: np.ndarray, quotes: np.ndarray, n_before: int) -> np.ndarray:
    """The positions outside quotes; ``n_before`` quotes stand before the ``quotes``."""
    if not len(quotes):
        return positions if n_before % 2 == 0 else positions[:0]
    return positions[(n_before + np.searchsorted(quotes, positions)) % 2 == 0]


def _next_bytes(content: np.ndarray, positions: np.ndarray, fill: int) -> np.ndarray:
    """The byte after each position; ``fill`` after the last byte."""
    following = np.full(len(positions), fill, dtype=np.uint8)
    within = positions + 1 < len(content)
    following[within] = content[positions[within] + 1]
    return following
