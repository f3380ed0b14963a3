"""The option ``--out``: format by suffix, compression, standard output, and atomic files."""

from __future__ import annotations

import gzip
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ld4mrec_cli.cli.options import Format
from ld4mrec_cli.utils.errors import UserError

SUFFIXES = {
    ".json": Format.JSON,
    ".jsonl": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".parquet": Format.PARQUET,
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".md": Format.MARKDOWN,
    ".txt": Format.TABLE,
}
COMPRESSED = ".gz"
STDOUT = Path("-")
FILE_ONLY = {Format.PARQUET: "Parquet", Format.HTML: "an HTML page"}
"""Formats that are not written to standard output."""
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}


@dataclass(frozen=True)
class Output:
    """Where a result is written, and how."""

    format: Format
    path: Path | None = None
    """None is standard output."""
    is_compressed: bool = False

    @contextmanager
    def open_text(self) -> Iterator[TextIO]:
        """Yield a UTF-8 text stream; a file appears complete, when the block ends well."""
        descriptor = 1 if self.path is None else _descriptor(self.path)
        if descriptor == 1:
            yield sys.stdout
            sys.stdout.flush()
        elif descriptor is not None:
            with os.fdopen(os.dup(descriptor), "w", encoding="utf-8", newline="") as stream:
                yield stream
        else:
            with self.open_file() as path, _open_text(path, self.is_compressed) as stream:
                yield stream

    @contextmanager
    def open_file(self) -> Iterator[Path]:
        """Yield a temporary path to write to; it becomes the output when the block ends well."""
        from ld4mrec_cli.utils.files import atomic_file

        assert self.path is not None
        with atomic_file(self.path) as path:
            yield path


def parse_output(
    format: Format | None,
    out: Path | None,
    formats: Sequence[Format],
    default: Format = Format.TABLE,
    option: str = "--out",
) -> Output:
    """Output of a command that writes ``formats``.

    Without ``--format``, the suffix of ``--out`` decides. Standard output and devices get
    ``default``. ``option`` is what the user calls ``--out``.

    Raises:
        UserError: there is no ``--format`` and the suffix names none, or the format needs a file.
    """
    path = None if out in (None, STDOUT) else out
    by_suffix, is_compressed = _parse_suffix(path)
    if path is not None and format is None:
        if by_suffix not in formats and not _is_device(path):
            raise UserError(
                f"{option} {path.name}: the suffix names no format",
                hint=f"Choose {_list_suffixes(formats)}"
                + (", or give --format" if option == "--out" else ""),
            )
        is_compressed &= by_suffix in formats
    chosen = format or (by_suffix if by_suffix in formats else None) or default
    if chosen in FILE_ONLY and (path is None or _descriptor(path) is not None):
        raise UserError(
            f"{FILE_ONLY[chosen]} is not for a terminal", hint=f"Name a file with {option}"
        )
    if is_compressed and chosen in FILE_ONLY:
        raise UserError(f"{option} {path}: {chosen} is not compressed again", hint="Leave out .gz")
    return Output(chosen, path, is_compressed)


def _parse_suffix(path: Path | None) -> tuple[Format | None, bool]:
    """Format that the suffix of a path names, None where it names none, and whether it is gzip."""
    if path is None:
        return None, False
    name = path.name.lower()
    is_compressed = name.endswith(COMPRESSED)
    return SUFFIXES.get(Path(name.removesuffix(COMPRESSED)).suffix), is_compressed


def _list_suffixes(formats: Sequence[Format]) -> str:
    """Suffixes of ``formats``, for a message."""
    suffixes = [suffix for suffix, format in SUFFIXES.items() if format in formats]
    return ", ".join(suffixes) + f"; text also with {COMPRESSED}"


def _is_device(path: Path) -> bool:
    """Whether a path is an open descriptor, a pipe or a device, so that its name says nothing."""
    return _descriptor(path) is not None or (
        path.exists() and not (path.is_file() or path.is_dir())
    )


def _descriptor(path: Path) -> int | None:
    """Number of the open file descriptor that a path such as ``/dev/stdout`` stands for."""
    match = _DESCRIPTOR.fullmatch(str(path))
    return int(match[1]) if match else _STREAMS.get(str(path))


@contextmanager
def _open_text(path: Path, is_compressed: bool) -> Iterator[TextIO]:
    if not is_compressed:
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,  # same bytes again
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as stream,
    ):
        yield stream
