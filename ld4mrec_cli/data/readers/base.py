"""What every reader of raw data returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.item_columns import ITEM_COLUMNS
from ld4mrec_cli.data.readers.content import part_files

ItemLoader = Callable[[Set[str]], pl.DataFrame]
"""Reads the content of the items with some ids: ``item``, and where known ``title`` and further
text fields, all strings and without HTML; one row per item. Other items may be in it too. It may
have a column of structs, for filters of lists (:mod:`ld4mrec_cli.data.item_columns`)."""


class EveryItem(Set[str]):
    """The ids of all items, for an :data:`ItemLoader`: unknown, so they cannot be listed."""

    def __contains__(self, item: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True)
class RawFeatures:
    """Item features as they lie in a file."""

    path: Path
    item_ids: list[str]
    """Raw id of each row."""
    values: np.ndarray
    """``(n_rows, dim)``, numeric and finite; may be memory-mapped."""

    def own_rows(self, known: Set[str]) -> np.ndarray:
        """Which rows belong to one of the ``known`` items, ``(n_rows,)`` bool."""
        return np.fromiter(
            (item in known for item in self.item_ids), dtype=bool, count=len(self.item_ids)
        )

    def aligned(self, item_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Features of some items, in their order.

        Returns:
            ``(n_items, dim)`` float32, zero where an item has none, and which items have one,
            ``(n_items,)``.
        """
        row_of = {item: row for row, item in enumerate(self.item_ids)}
        rows = np.fromiter(
            (row_of.get(item, -1) for item in item_ids), dtype=np.int64, count=len(item_ids)
        )
        values = np.zeros((len(item_ids), self.values.shape[1]), dtype=np.float32)
        present = rows >= 0
        values[present] = self.values[rows[present]].astype(np.float32)
        return values, present


@dataclass(frozen=True)
class RawData:
    """A raw source, read: raw ids, nothing filtered, split or aligned yet."""

    format: str
    """Name of the layout, a key of ``LAYOUTS``."""
    interactions: pl.DataFrame
    """``user`` and ``item`` (strings), and where the source has them ``rating`` (float),
    ``timestamp`` (see :mod:`ld4mrec_cli.data.readers.times`), ``split`` (0 train, 1 valid,
    2 test) and ``weight`` (float, where the user names its column or that of events).
    Rows are in the order of the files."""
    load_items: ItemLoader
    """Reads item content, once it is known which items are kept; may add to ``notes``."""
    features: dict[str, RawFeatures]
    """Ready-made features by modality name."""
    files: list[Path]
    """Files that are read, for the provenance; a directory of parts stands for its parts."""
    notes: dict[str, int] = field(default_factory=dict)
    """Reason why something was left out while reading → how often."""
    detail: str = ""
    """Which kind of the layout it is: the generation of Amazon reviews."""
    item_files: list[Path] = field(default_factory=list)
    """Files that ``load_items`` reads; empty where the source has no item content."""
    example_item: Callable[[], str | None] = lambda: None
    """Reads the first item id of ``item_files``, where ``load_items`` skips items without
    interactions."""

    def __post_init__(self) -> None:
        parts = [part for path in self.files for part in part_files(path)]
        object.__setattr__(self, "files", parts)

    @property
    def layout(self) -> str:
        """Format and detail, as a user reads them."""
        return f"{self.format} {self.detail}".strip()

    @cached_property
    def items(self) -> pl.DataFrame:
        """Titles and texts of all items that have an interaction."""
        content = self.load_items(set(self.interactions[ITEM].unique()))
        return content.drop(ITEM_COLUMNS, strict=False)
