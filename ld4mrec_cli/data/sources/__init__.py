"""Readers of raw data, one module per layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ld4mrec_cli.config import PrepareConfig
from ld4mrec_cli.data.sources import amazon, mmrec, table
from ld4mrec_cli.data.sources.raw import RawData
from ld4mrec_cli.data.sources.reading import Reading
from ld4mrec_cli.errors import SourceError

READERS: dict[str, Callable[[Path, Reading], RawData]] = {
    "mmrec": mmrec.read,
    "amazon": amazon.read,
    "table": table.read,
}


def read_source(raw: Path, options: PrepareConfig, reading: Reading | None = None) -> RawData:
    """Read a raw directory in the layout that ``options.format`` names, or that its files show.

    ``reading`` takes the malformed lines that were left out, and tells who watches.

    Raises:
        SourceError: the directory is missing, empty or of no known layout, or its reader's faults.
    """
    if not raw.is_dir():
        what = "is a file, a directory is needed" if raw.exists() else "no such directory"
        raise SourceError(what, where=raw)
    layout = detect_format(raw) if options.format == "auto" else options.format
    return READERS[layout](raw, reading or Reading(options))


def detect_format(raw: Path) -> str:
    """Recognise the layout of a raw directory by its file names. Raises SourceError where none fits."""
    names = sorted(path.name for path in raw.iterdir())
    if not names:
        raise SourceError("the directory is empty", where=raw)
    fits = {
        "mmrec": any(name.endswith(".inter") for name in names),
        "amazon": bool(amazon.split_files(raw)[0]),
        "table": any((raw / f"interactions{suffix}").is_file() for suffix in table.TABLES),
    }
    found = [layout for layout, fit in fits.items() if fit]
    if not found and table.interaction_file(raw) is not None:
        return "table"
    if len(found) != 1:
        shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
        why = "fits " + " and ".join(found) if found else f"no known layout among: {shown}"
        raise SourceError(why, where=raw, hint="Say which with --format amazon, mmrec or table (docs/data.md)")
    return found[0]
