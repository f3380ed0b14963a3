"""Raw ids to internal indices; unknown ones are an error, or are skipped and said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ld4mrec_cli.data.dataset import UNKNOWN, Ids
from ld4mrec_cli.utils.errors import UnknownIdError, nearest
from ld4mrec_cli.utils.text import printable

SHOWN = 3
"""Unknown ids that a message names."""
OnNote = Callable[[str], None]
"""Gets a line for the user."""


def ignore_note(text: str) -> None:
    """Say nothing."""


def find_known(
    raw: Sequence[str],
    ids: Ids,
    *,
    skip_unknown: bool,
    on_note: OnNote = ignore_note,
    where: Path | None = None,
    option: str = "--skip-unknown",
) -> np.ndarray:
    """Index of each raw id ``(n,)`` int64; UNKNOWN where it is to be skipped.

    Args:
        raw: the ids.
        ids: the known ones.
        skip_unknown: say how many are unknown in place of an error.
        on_note: gets that line.
        where: the file that they are from.
        option: what skips them, for the message.

    Raises:
        UnknownIdError: some are unknown; it names the first of them.
    """
    indices = ids.find(raw)
    unknown = list(dict.fromkeys(raw[at] for at in np.flatnonzero(indices == UNKNOWN).tolist()))
    if not unknown:
        return indices
    names = ", ".join(f"'{printable(one)}'" for one in unknown[:SHOWN])
    names += ", …" if len(unknown) > SHOWN else ""
    if skip_unknown:
        place = "" if where is None else f"{where}: "
        plural, verb = ("", "is") if len(unknown) == 1 else ("s", "are")
        on_note(f"{place}{len(unknown):,} unknown {ids.kind}{plural} {verb} skipped: {names}")
        return indices
    if len(unknown) == 1:
        what = f"unknown {ids.kind} {names}"
        near = nearest(unknown[0], ids.ids[:20_000])
        hint = near + (" " if near.endswith("?") else ". ") + f"{option} leaves it out"
    else:
        what = f"{len(unknown):,} unknown {ids.kind}s: {names}"
        hint = f"{option} leaves them out"
    raise UnknownIdError(what, where=where, hint=hint)
