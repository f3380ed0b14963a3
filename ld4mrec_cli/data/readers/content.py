"""Content of raw files as bytes: gzip is recognized by the content, whatever the name says."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ld4mrec_cli.utils.errors import SourceError

BOM = b"\xef\xbb\xbf"
GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)
MAX_GZIP_LAYERS = 3
"""A file that was gzipped twice is read; more layers than this are refused."""
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": ("a zip archive", "Unpack it"),
    b"BZh": ("compressed by bzip2", "Unpack it with bunzip2, or compress it with gzip"),
    b"\xfd7zXZ\0": ("compressed by xz", "Unpack it with unxz, or compress it with gzip"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "Unpack it with unzstd, or compress it with gzip"),
    b"\xff\xfe": ("UTF-16 text", "Save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "Save it as UTF-8"),
}
"""First bytes of files that are not read: their kind, and the cure."""
_HEAD = max(map(len, _FOREIGN))

Stream = io.BufferedReader | gzip.GzipFile


@contextmanager
def open_content(path: Path) -> Iterator[tuple[Stream, io.BufferedReader]]:
    """Open a file and unpack gzip, also repeated gzip.

    Yields:
        The unpacked stream, and the file below it, whose position tells the progress.

    Raises:
        SourceError: another compression, UTF-16 text, too many layers of gzip.
        OSError: the file cannot be opened. ``GZIP_ERRORS``: the gzip is damaged.
    """
    with path.open("rb") as handle:
        stream: Stream = handle
        layers = 0
        while stream.peek(_HEAD).startswith(_GZIP):
            layers += 1
            if layers > MAX_GZIP_LAYERS:
                raise SourceError(
                    f"is gzipped more than {MAX_GZIP_LAYERS} times", where=path, hint="Unpack it"
                )
            stream = gzip.GzipFile(fileobj=stream, mode="rb")
        head = stream.peek(_HEAD)[:_HEAD]
        for magic, (kind, cure) in _FOREIGN.items():
            if head.startswith(magic):
                raise SourceError(f"is {kind}", where=path, hint=cure)
        yield stream, handle


def read_content(path: Path) -> np.ndarray:
    """Read a file as bytes ``(n,)`` uint8: memory-mapped, or unpacked where it is gzipped.

    Raises:
        SourceError: as :func:`open_content`, or the gzip is damaged.
    """
    try:
        with open_content(path) as (stream, handle):
            if stream is not handle:
                return np.frombuffer(stream.read(), dtype=np.uint8)
        if not path.stat().st_size:
            return np.empty(0, dtype=np.uint8)
        return np.memmap(path, dtype=np.uint8, mode="r")
    except GZIP_ERRORS as error:
        raise damaged_gzip(error, path) from None


def damaged_gzip(error: Exception, path: Path, line: int | None = None) -> SourceError:
    """Describe one of ``GZIP_ERRORS`` as a user error."""
    return SourceError(
        f"damaged gzip ({error})", where=path, line=line, hint="Fetch the file again"
    )


def data_name(path: Path) -> str:
    """Name of a file without any ``.gz`` at its end: ``x.csv.gz`` is ``x.csv``."""
    name = path.name
    while name.lower().endswith(".gz"):
        name = name[: -len(".gz")]
    return name


def data_suffix(path: Path) -> str:
    """Suffix of a file before any ``.gz``, in lower case: that of ``x.csv.gz`` is ``.csv``."""
    return Path(data_name(path)).suffix.lower()


def part_files(path: Path) -> list[Path]:
    """The files of a table: the file itself, or the parts of a directory that Spark wrote.

    Raises:
        SourceError: a directory that is not of Parquet parts, or is partitioned by columns.
    """
    if not path.is_dir():
        return [path]
    visible = [entry for entry in sorted(path.iterdir()) if entry.name[0] not in "._"]
    parts = [entry for entry in visible if entry.suffix == ".parquet" and entry.is_file()]
    folders = [entry.name for entry in visible if entry.is_dir()]
    if path.suffix != ".parquet" or not parts or folders:
        what = f" with the folder {folders[0]}" if folders else ""
        hint = "Write one file, or a .parquet directory of part-*.parquet files alone"
        raise SourceError(f"is a directory{what}, one file is needed", where=path, hint=hint)
    return parts
