"""CSV by the strict rules of Python's csv: the same rows, or both refuse."""

from __future__ import annotations

import csv
import io
import random
from typing import Any

import numpy as np
import pytest

from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.csv_strict import count_records, iter_records
from ld4mrec_cli.data.readers.delimited import read_table
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError

PIECES = ['"', '"', '""', "\\", ",", ",", "\n", "\n", "\r\n", "\r", "a", "b", " ", '"\n"', '","']
HEADERS = ["x,y\n", "x,y\n", "x,y\r\n", "x\n", "x,y,z\n", '"x","y"\n', "\ufeffx,y\n", ""]
WELL_FORMED = ["a", "b c", '"a"', '"a,b"', '"a\nb"', '"a\r\nb"', '"say ""a"""', '""', '"""a"""', ""]


def draw_text(rng: random.Random) -> str:
    """A small CSV: random pieces, or well-formed lines of which some get a fault."""
    header = rng.choice(HEADERS)
    if rng.random() < 0.5:
        return header + "".join(rng.choices(PIECES, k=rng.randint(0, 14)))
    width = header.count(",") + 1
    end = rng.choice(["\n", "\r\n", "\r"])
    lines = [",".join(rng.choices(WELL_FORMED, k=width)) for _ in range(rng.randint(1, 6))]
    text = header + end.join(lines) + rng.choice([end, ""])
    if rng.random() < 0.5:
        place = rng.randint(0, len(text))
        text = text[:place] + rng.choice(PIECES) + text[place + rng.randint(0, 1) :]
    return text


DIALECTS = {
    ".csv": {"delimiter": ",", "quoting": csv.QUOTE_MINIMAL},
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
}


def read_by_python(text: str, dialect: dict[str, Any]) -> list[list[str | None]] | None:
    """Header and rows by Python's csv; None where it, or the rules for tables, refuse them."""
    source = io.StringIO(text.removeprefix("\ufeff"), newline="")
    try:
        records = [record for record in csv.reader(source, strict=True, **dialect) if record]
    except csv.Error:
        return None
    if not records:
        return None
    header, *rows = records
    is_bad_header = len(set(header)) != len(header) or (
        len(header) == 1 and any(mark in header[0] for mark in ",\t;|")
    )
    if is_bad_header or any(len(row) != len(header) or not any(row) for row in rows):
        return None
    return [list(header), *([value or None for value in row] for row in rows)]


def compare(path, seed: int, count: int) -> tuple[int, int]:
    """Read ``count`` files both ways; the number of files that were read, and refused."""
    rng = random.Random(seed)
    context = ReadContext(PrepareConfig())
    n_read = n_refused = 0
    for _ in range(count):
        dialect = DIALECTS[path.suffix]
        text = draw_text(rng).replace(",", dialect["delimiter"])
        path.write_bytes(text.encode())
        expected = read_by_python(text, dialect)
        try:
            frame = read_table(path, context)
            rows = [frame.columns, *map(list, frame.rows())]
        except SourceError:
            rows = None
        assert rows == expected, repr(text)
        n_read += rows is not None
        n_refused += rows is None
    return n_read, n_refused


@pytest.mark.parametrize("suffix", DIALECTS)
def test_small_files_are_read_as_by_python_or_both_refuse(tmp_path, suffix):
    n_read, n_refused = compare(tmp_path / f"x{suffix}", seed=0, count=500)
    assert min(n_read, n_refused) > 100


@pytest.mark.slow
def test_many_small_files_are_read_as_by_python_or_both_refuse(tmp_path):
    n_read, n_refused = compare(tmp_path / "x.csv", seed=1, count=5000)
    assert min(n_read, n_refused) > 1000


def test_the_fast_check_accepts_only_what_python_accepts():
    rng = random.Random(2)
    n_accepted = 0
    for _ in range(3000):
        text = draw_text(rng)
        content = np.frombuffer(text.encode(), dtype=np.uint8)
        width = rng.randint(1, 3)
        n_records = count_records(content, ",", width, quoted=True)
        if n_records is None or not text:
            continue
        n_accepted += 1
        source = io.StringIO(text.removeprefix("\ufeff"), newline="")
        records = list(csv.reader(source, strict=True))
        assert n_records == len(records), repr(text)
        assert {len(record) for record in records} <= {width, 0 if width == 1 else width}
    assert n_accepted > 200


def test_the_fast_check_works_across_its_steps(monkeypatch):
    from ld4mrec_cli.data.readers import csv_strict

    text = 'x,y\n"a ""b"", c",d\r\n"e\nf","g"\n' * 5
    content = np.frombuffer(text.encode(), dtype=np.uint8)
    for step in (1, 2, 3, 7):
        monkeypatch.setattr(csv_strict, "_STEP", step)
        assert count_records(content, ",", 2, quoted=True) == 15
        assert count_records(content[:-2], ",", 2, quoted=True) is None
        assert count_records(content, ",", 3, quoted=True) is None


def test_each_fault_is_named_in_plain_words_and_reading_goes_on():
    lines = ["a,b\n", 'c,"d" e\n', 'f,"g\n', "h,i\n", 'j,"k']
    records = list(iter_records(iter(enumerate(lines, start=1)), ",", quoted=True))
    assert records == [
        (1, ["a", "b"]),
        (2, 'a quote inside a quoted field must be doubled, as ""'),
        (3, 'a quote inside a quoted field must be doubled, as ""'),
        (4, ["h", "i"]),
        (5, "a quote is opened and never closed"),
    ]
