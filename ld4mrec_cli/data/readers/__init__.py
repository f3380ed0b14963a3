"""Readers of raw data, one module per layout of ``settings/layouts.py``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.table import TABLES, interaction_file, is_table
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.settings.layouts import AUTO, LAYOUTS, list_layouts
from ld4mrec_cli.utils.errors import SourceError
from ld4mrec_cli.utils.text import is_utf8

MATRICES = ("trnMat.pkl", "valMat.pkl", "tstMat.pkl")
"""DiffMM's interactions. Opening a pickle can run code, so they are never read."""
TABLE = "table"
SHOWN_NAMES = 6


class Reader(Protocol):
    """A module that reads one layout."""

    def fits(self, raw: Path) -> bool:
        """Whether the files of a directory are of this layout."""

    def read(self, raw: Path, context: ReadContext) -> RawData:
        """Read a directory. Raises SourceError for missing or malformed files."""


def load_reader(layout: str) -> Reader:
    """Import the reader of a layout."""
    module = importlib.import_module(f"{__name__}.{LAYOUTS[layout].reader}")
    return cast(Reader, module)


def read_source(raw: Path, options: PrepareConfig, context: ReadContext | None = None) -> RawData:
    """Read a raw directory or a table in the layout that ``options.format`` names, or that fits.

    ``context`` counts the malformed lines that are left out, and reports progress.

    Raises:
        SourceError: the path is missing, of no known layout or holds pickles; or as its reader.
    """
    context = context or ReadContext(options)
    if (
        raw.is_file()
        or is_table(raw)
        or options.interactions is not None
        or options.items is not None
    ):
        _check_named_tables(raw, options)
        return load_reader(TABLE).read(raw, context)
    if not raw.is_dir():
        raise SourceError("no such directory", where=raw)
    for path in raw.iterdir():
        if not is_utf8(path.name):
            raise SourceError("the name is not UTF-8", where=path, hint="Rename it")
    matrices = [name for name in MATRICES if (raw / name).is_file()]
    if matrices and not _fitting_layouts(raw):
        hint = (
            "Convert files that you trust with examples/convert_diffmm.py "
            "(docs/data.md, From DiffMM's files)"
        )
        raise SourceError(
            "is a pickled matrix, which is never opened", where=raw / matrices[0], hint=hint
        )
    layout = detect_format(raw) if options.format == AUTO else options.format
    return load_reader(layout).read(raw, context)


def _check_named_tables(raw: Path, options: PrepareConfig) -> None:
    """Raise SourceError where single files are named and are no plain tables."""
    if options.format not in (AUTO, TABLE):
        what = f"--format {options.format} reads a directory, not single tables"
        hint = f"Give --raw DIR alone, or --format {TABLE}"
        raise SourceError(what, where=raw, hint=hint)
    if raw.is_file() and not is_table(raw):
        hint = f"Give the directory that holds it, or a table ({', '.join(TABLES)})"
        raise SourceError("is a file, but not a table", where=raw, hint=hint)
    if not raw.exists():
        raise SourceError("no such file or directory", where=raw)


def detect_format(raw: Path) -> str:
    """Recognize the layout of a raw directory by file names and first lines.

    Raises:
        SourceError: none fits, or several.
    """
    names = sorted(path.name for path in raw.iterdir())
    if not names:
        raise SourceError("the directory is empty", where=raw)
    layouts = _fitting_layouts(raw)
    if len(layouts) == 1:
        return layouts[0]
    if layouts:
        hint = f"Say which with --format {list_layouts()} (docs/data.md)"
        raise SourceError("fits " + " and ".join(layouts), where=raw, hint=hint)
    shown = ", ".join(names[:SHOWN_NAMES]) + (", …" if len(names) > SHOWN_NAMES else "")
    hint = (
        f"Say which with --format {list_layouts()} (docs/data.md), "
        "or name the tables with --interactions FILE --items FILE"
    )
    raise SourceError(f"no known layout among: {shown}", where=raw, hint=hint)


def _fitting_layouts(raw: Path) -> list[str]:
    """The layouts that a directory fits; a table of another name counts where nothing else fits."""
    layouts = [layout for layout in LAYOUTS if load_reader(layout).fits(raw)]
    return layouts or ([TABLE] if interaction_file(raw) is not None else [])
