"""Readers of raw data, one module per layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ld4mrec_cli.data.readers import mmrec, recbole, table
from ld4mrec_cli.data.readers.amazon import reader as amazon
from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError

MATRICES = ("trnMat.pkl", "valMat.pkl", "tstMat.pkl")
"""DiffMM's interactions. Opening a pickle can run code, so they are never read."""
READERS: dict[str, Callable[[Path, ReadContext], RawData]] = {
    "mmrec": mmrec.read,
    "amazon": amazon.read,
    "recbole": recbole.read,
    "table": table.read,
}


def read_source(raw: Path, options: PrepareConfig, context: ReadContext | None = None) -> RawData:
    """Read a raw directory in the layout that ``options.format`` names, or that its files show.

    ``reading`` takes the malformed lines that were left out, and tells who watches.

    Raises:
        SourceError: the directory is missing, empty, of no known layout or of pickles, or its reader's bad_lines.
    """
    if not raw.is_dir():
        what = "is a file, a directory is needed" if raw.exists() else "no such directory"
        raise SourceError(what, where=raw)
    matrices = [name for name in MATRICES if (raw / name).is_file()]
    if matrices and not _fitting(raw):
        hint = "Convert files that you trust with examples/convert_diffmm.py (docs/data.md, From DiffMM's files)"
        raise SourceError(
            "is a pickled matrix, which is never opened", where=raw / matrices[0], hint=hint
        )
    layout = detect_format(raw) if options.format == "auto" else options.format
    return READERS[layout](raw, context or ReadContext(options))


def detect_format(raw: Path) -> str:
    """Recognize the layout of a raw directory by its file names, and tables of ratings by their first lines.

    Raises:
        SourceError: none fits, or several.
    """
    names = sorted(path.name for path in raw.iterdir())
    if not names:
        raise SourceError("the directory is empty", where=raw)
    found = _fitting(raw)
    if len(found) != 1:
        shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
        why = "fits " + " and ".join(found) if found else f"no known layout among: {shown}"
        raise SourceError(
            why,
            where=raw,
            hint="Say which with --format amazon, mmrec, recbole or table (docs/data.md)",
        )
    return found[0]


def _fitting(raw: Path) -> list[str]:
    """The layouts that the files of a directory fit."""
    logs = sorted(raw.glob("*.inter"))
    atomic = any(recbole.is_atomic(path) for path in logs)
    fits = {
        "mmrec": bool(logs) and not atomic,
        "amazon": amazon.fits(raw),
        "recbole": atomic,
        "table": any((raw / f"interactions{suffix}").is_file() for suffix in table.TABLES),
    }
    found = [layout for layout, fit in fits.items() if fit]
    return found or (["table"] if table.interaction_file(raw) is not None else [])
