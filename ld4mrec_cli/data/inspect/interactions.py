"""Raw files or a dataset directory as the tables that an inspection counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM, SPLIT, TITLE, USER
from ld4mrec_cli.data.dataset import Dataset, natural_order
from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.splits import SPLITS

_OPTION_LABELS = {
    "k_core": "k-core",
    "min_rating": "ratings of at least",
    "combine_weights": "weights by",
    "seed": "seed",
}
"""Options of `prepare` in the line of provenance, with their labels."""


@dataclass(frozen=True)
class Interactions:
    """Interactions by integer codes, and the items in the order of their codes."""

    users: np.ndarray
    """User code of each interaction, ``(n,)``."""
    items: np.ndarray
    """Item code of each interaction, ``(n,)``."""
    n_users: int
    catalog: pl.DataFrame
    """``item``, and where known ``title`` and text fields; the row is the code."""
    details: pl.DataFrame
    """``rating``, ``timestamp``, ``split`` and ``weight`` of each interaction, where known."""

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.catalog)

    def unique_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return users and items of the interactions, each pair once."""
        keys = np.unique(self.users * self.n_items + self.items)
        return keys // self.n_items, keys % self.n_items

    def get_known(self, column: str) -> np.ndarray:
        """Return the values of a detail that are not null; injected noise has none."""
        if column not in self.details.columns:
            return np.empty(0)
        return self.details[column].drop_nulls().to_numpy()


def from_raw(source: RawData) -> Interactions:
    """Encode the ids of raw data: users in order of id, items in their natural order."""
    table = source.interactions
    codes = pl.DataFrame(
        {ITEM: natural_order(table[ITEM].unique())}, schema={ITEM: pl.String}
    ).with_row_index("code")
    joined = table.select(ITEM).join(codes, on=ITEM, how="left", maintain_order="left")
    items = joined["code"].to_numpy().astype(np.int64)
    users = table[USER].rank("dense").to_numpy().astype(np.int64) - 1
    catalog = codes.drop("code").join(source.items, on=ITEM, how="left", maintain_order="left")
    return Interactions(users, items, int(users.max()) + 1, catalog, table.drop(USER, ITEM))


def from_dataset(dataset: Dataset) -> Interactions:
    """Read the interactions of all splits of a dataset."""
    tables = [
        dataset.interactions(split).with_columns(pl.lit(code, pl.Int8).alias(SPLIT))
        for code, split in enumerate(SPLITS)
    ]
    table = pl.concat(tables, how="diagonal")
    titles = {TITLE: dataset.titles} if dataset.titles is not None else {}
    catalog = pl.DataFrame(
        {ITEM: dataset.items.ids, **titles}, schema=dict.fromkeys((ITEM, *titles), pl.String)
    )
    users, items = (table[column].to_numpy().astype(np.int64) for column in (USER, ITEM))
    return Interactions(users, items, len(dataset.users), catalog, table.drop(USER, ITEM))


def describe_provenance(provenance: Mapping[str, Any]) -> str:
    """Return the origin of a dataset and the steps since then, in one line."""
    files = provenance.get("files")
    names = (
        [str(file["name"]) for file in files if "name" in file] if isinstance(files, list) else []
    )
    version = provenance.get("ld4mrec", "?")
    steps = [f"prepared by ld4mrec {version} from {', '.join(names) or 'unknown files'}"]
    options = provenance.get("options")
    if isinstance(options, dict):
        steps += [
            f"{label} {options[key]}"
            for key, label in _OPTION_LABELS.items()
            if options.get(key) is not None
        ]
    noise = provenance.get("noise")
    for step in noise if isinstance(noise, list) else []:
        steps.append(
            f"{step.get('type')} noise at ratio {step.get('ratio')}, seed {step.get('seed')}"
        )
    return "; ".join(steps)
