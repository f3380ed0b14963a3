"""What every reader of raw data returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl


@dataclass(frozen=True)
class RawFeatures:
    """Item features as they lie in a file."""

    path: Path
    item_ids: list[str]
    """Raw id of each row."""
    values: np.ndarray
    """``(n_rows, dim)``, numeric and finite; may be memory-mapped."""


@dataclass(frozen=True)
class RawData:
    """A raw source, read: raw ids, nothing filtered, split or aligned yet."""

    format: str
    """Layout that was read: ``mmrec``, ``amazon`` or ``table``."""
    interactions: pl.DataFrame
    """``user`` and ``item`` (strings), and where the source has them ``rating`` (float), ``timestamp``
    (integer) and ``label`` (0 train, 1 valid, 2 test)."""
    items: pl.DataFrame
    """``item``, and where known ``title`` and further text fields, all strings; one row per item."""
    features: dict[str, RawFeatures]
    """Ready-made features by modality name."""
    files: list[Path]
    """Files that were read, for the provenance."""
    notes: dict[str, int] = field(default_factory=dict)
    """What was left out while reading, and how often."""
