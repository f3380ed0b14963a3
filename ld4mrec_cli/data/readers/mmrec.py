"""The MMRec layout: one ``*.inter`` with integer ids, ``NAME_feat.npy``, ``items.tsv``.

Row r of a ``NAME_feat.npy`` belongs to the item with the id r.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.readers.arrays import feature_files, is_keyed, read_keyed, read_rows
from ld4mrec_cli.data.readers.base import RawData, RawFeatures
from ld4mrec_cli.data.readers.columns import interactions_from
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.delimited import read_table
from ld4mrec_cli.data.readers.recbole import is_atomic
from ld4mrec_cli.data.readers.table import item_file, read_items
from ld4mrec_cli.utils.errors import SourceError


def fits(raw: Path) -> bool:
    """Whether a directory has ``*.inter`` files, none of which has typed headers."""
    paths = list(raw.glob("*.inter"))
    return bool(paths) and not any(is_atomic(path) for path in paths)


def read(raw: Path, context: ReadContext) -> RawData:
    """Read a directory in the MMRec layout.

    Raises:
        SourceError: no or several ``*.inter`` files, a malformed line, features that do not fit.
    """
    inter = _inter_file(raw)
    interactions = interactions_from(read_table(inter, context), inter, context)
    files = [inter]
    items = pl.DataFrame({ITEM: interactions[ITEM].unique(maintain_order=True)})
    notes: dict[str, int] = {}
    titles = item_file(raw)
    if titles is not None:
        items, notes = read_items(titles, context)
        files.append(titles)
    features: dict[str, RawFeatures] = {}
    for name, path in feature_files(raw).items():
        if is_keyed(path):
            features[name] = read_keyed(path, context)
        else:
            features[name] = _read_by_row(path, interactions, inter)
        files.append(path)
    item_files = [] if titles is None else [titles]
    return RawData(
        "mmrec", interactions, lambda _: items, features, files, notes, item_files=item_files
    )


def _inter_file(raw: Path) -> Path:
    paths = sorted(raw.glob("*.inter"))
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise SourceError(f"the MMRec layout has one *.inter file, found: {names}", where=raw)
    return paths[0]


def _read_by_row(path: Path, interactions: pl.DataFrame, inter: Path) -> RawFeatures:
    """Read a ``.npy`` whose row is the item id. Raises SourceError for ids that are no rows."""
    ids = interactions[ITEM].unique()
    rows = ids.cast(pl.Int64, strict=False)
    is_row = (rows.cast(pl.String) == ids).fill_null(False) & (rows >= 0).fill_null(False)
    if not is_row.all():
        odd = ids.filter(~is_row).sort()[0]
        hint = (
            f"Row r of {path.name} belongs to item r; "
            "for other ids give a Parquet or .npz file keyed by item"
        )
        raise SourceError(f"item '{odd}' is not a row number", where=inter, hint=hint)
    count = int(rows.max()) + 1  # type: ignore[arg-type]
    values = read_rows(path, count, inter.name)
    return RawFeatures(path, [str(row) for row in range(count)], values)
