"""A first look at raw files or a dataset: what they hold and how it is distributed. Nothing is filtered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM, RATING, SPLIT, TIMESTAMP, TITLE, USER
from ld4mrec_cli.data.dataset import Dataset, is_dataset, natural_order
from ld4mrec_cli.data.filters import k_core
from ld4mrec_cli.data.inspect.parts import (
    degrees,
    modality_summary,
    rating_summary,
    text_summaries,
    time_summary,
)
from ld4mrec_cli.data.inspect.summary import (
    Cold,
    CoreSummary,
    Counts,
    Inspection,
    ItemPreview,
    ModalitySummary,
    SplitSummary,
)
from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.splits import SPLITS, Split
from ld4mrec_cli.settings.data import PrepareConfig

CORE = 5
SHOWN_ITEMS = 5
DRAW_SEED = 0


@dataclass(frozen=True)
class _Log:
    """Interactions by code, and the items in the order of the codes."""

    users: np.ndarray
    """User code of each interaction, ``(n,)``."""
    items: np.ndarray
    """Item code of each interaction, ``(n,)``."""
    n_users: int
    catalog: pl.DataFrame
    """``item``, and where known ``title`` and text fields; the row is the code."""
    details: pl.DataFrame
    """``rating``, ``timestamp`` and ``label`` of each interaction, where known."""

    @property
    def n_items(self) -> int:
        return len(self.catalog)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Users and items of the interactions, each pair once."""
        keys = np.unique(self.users * self.n_items + self.items)
        return keys // self.n_items, keys % self.n_items


def inspect(directory: Path, options: PrepareConfig) -> Inspection:
    """Inspect a dataset directory, or a raw directory in any layout that `prepare` reads.

    ``options`` name the layout, columns and text fields of raw files; a dataset needs none of them.

    Raises:
        SourceError: the raw files are missing, malformed or do not fit together.
        DatasetError: a file of the dataset is missing or was changed.
    """
    if is_dataset(directory):
        return _inspect_dataset(Dataset.open(directory))
    context = ReadContext(options)
    source = read_source(directory, options, context)
    log = _raw_log(source)
    modalities = _raw_modalities(source, log)
    bad_lines = {"malformed lines": context.n_bad_lines} if context.n_bad_lines else {}
    unused = len(source.items.join(log.catalog, on=ITEM, how="anti"))
    description: dict[str, Any] = {
        "name": directory.resolve().name,
        "kind": "raw",
        "layout": source.layout,
        "split_method": None,
        "provenance": f"{source.layout} layout: " + ", ".join(path.name for path in source.files),
        "hash": None,
        "notes": {**source.notes, **bad_lines},
    }
    return _summarize(description, log, unused, modalities)


def _inspect_dataset(dataset: Dataset) -> Inspection:
    log = _dataset_log(dataset)
    provenance = dataset.schema.provenance
    modalities = []
    for name in dataset.modality_names():
        features = dataset.modality(name, is_mapped=True)
        summary = modality_summary(name, features.values, features.present, dataset.shape[1])
        modalities.append(summary)
    layout = provenance.get("format")
    description: dict[str, Any] = {
        "name": dataset.name,
        "kind": "dataset",
        "layout": layout if isinstance(layout, str) else None,
        "split_method": dataset.schema.split_method,
        "provenance": describe_provenance(provenance),
        "hash": dataset.hash,
        "notes": _counts_only(provenance.get("left_out")),
    }
    unused = log.n_items - len(np.unique(log.items))
    return _summarize(description, log, unused, modalities)


def _raw_log(source: RawData) -> _Log:
    table = source.interactions
    ids = pl.DataFrame(
        {ITEM: natural_order(table[ITEM].unique())}, schema={ITEM: pl.String}
    ).with_row_index("code")
    items = (
        table.select(ITEM)
        .join(ids, on=ITEM, how="left", maintain_order="left")["code"]
        .to_numpy()
        .astype(np.int64)
    )
    users = table[USER].rank("dense").to_numpy().astype(np.int64) - 1
    catalog = ids.drop("code").join(source.items, on=ITEM, how="left", maintain_order="left")
    return _Log(users, items, int(users.max()) + 1, catalog, table.drop(USER, ITEM))


def _dataset_log(dataset: Dataset) -> _Log:
    parts = [
        dataset.interactions(split).with_columns(pl.lit(label, pl.Int8).alias(SPLIT))
        for label, split in enumerate(SPLITS)
    ]
    table = pl.concat(parts, how="diagonal_relaxed")
    titles = {TITLE: dataset.titles} if dataset.titles is not None else {}
    catalog = pl.DataFrame(
        {ITEM: dataset.items.ids, **titles}, schema=dict.fromkeys((ITEM, *titles), pl.String)
    )
    users, items = (table[column].to_numpy().astype(np.int64) for column in (USER, ITEM))
    return _Log(users, items, len(dataset.users), catalog, table.drop(USER, ITEM))


def _raw_modalities(source: RawData, log: _Log) -> list[ModalitySummary]:
    known = set(log.catalog[ITEM])
    found = []
    for name, features in sorted(source.features.items()):
        found.append(modality_summary(name, features.values, features.own_rows(known), log.n_items))
    return found


def _summarize(
    description: dict[str, Any], log: _Log, unused: int, modalities: list[ModalitySummary]
) -> Inspection:
    users, items = log.pairs()
    item_counts = np.bincount(items, minlength=log.n_items)
    labels = log.details[SPLIT].to_numpy() if SPLIT in log.details.columns else None
    popular, drawn = _glances(log.catalog, item_counts)
    return Inspection(
        **description,
        counts=Counts(
            users=log.n_users,
            items=log.n_items,
            interactions=len(log.users),
            repeated_interactions=len(log.users) - len(users),
            density=len(users) / (log.n_users * log.n_items),
            items_without_interactions=unused,
        ),
        splits=[] if labels is None else _splits(log, labels),
        cold=None if labels is None else _cold(log, labels),
        user_degrees=degrees(np.bincount(users, minlength=log.n_users)),
        item_degrees=degrees(item_counts),
        core=_core(users, items) if description["kind"] == "raw" else None,
        ratings=rating_summary(_known(log.details, RATING)),
        times=time_summary(_known(log.details, TIMESTAMP)),
        modalities=modalities,
        texts=text_summaries(log.catalog.drop(ITEM)),
        popular_items=popular,
        sample_items=drawn,
    )


def _known(details: pl.DataFrame, column: str) -> np.ndarray:
    """The values of a column that are known: interactions that were injected as noise have none."""
    return details[column].drop_nulls().to_numpy() if column in details.columns else np.empty(0)


def _trained(log: _Log, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which users and which items have a training interaction."""
    train = labels == SPLITS.index(Split.TRAIN)
    users, items = np.zeros(log.n_users, dtype=bool), np.zeros(log.n_items, dtype=bool)
    users[log.users[train]] = True
    items[log.items[train]] = True
    return users, items


def _cold(log: _Log, labels: np.ndarray) -> Cold:
    users, items = _trained(log, labels)
    return Cold(users=int((~users).sum()), items=int((~items).sum()))


def _splits(log: _Log, labels: np.ndarray) -> list[SplitSummary]:
    users, items = _trained(log, labels)
    cold = ~(users[log.users] & items[log.items])
    found = []
    for label, name in enumerate(SPLITS):
        chosen = labels == label
        found.append(
            SplitSummary(
                name=name,
                interactions=int(chosen.sum()),
                share=float(chosen.mean()),
                users=len(np.unique(log.users[chosen])),
                items=len(np.unique(log.items[chosen])),
                cold_interactions=int((chosen & cold).sum()),
            )
        )
    return found


def _core(users: np.ndarray, items: np.ndarray) -> CoreSummary:
    kept = k_core(users, items, CORE)
    return CoreSummary(
        k=CORE,
        users=len(np.unique(users[kept])),
        items=len(np.unique(items[kept])),
        interactions=int(kept.sum()),
    )


def _glances(
    catalog: pl.DataFrame, counts: np.ndarray
) -> tuple[list[ItemPreview], list[ItemPreview]]:
    """The most popular items, and some of the others drawn with a fixed seed."""
    order = np.argsort(-counts, kind="stable")
    rest = np.sort(order[SHOWN_ITEMS:])
    drawn = np.random.default_rng(DRAW_SEED).choice(
        rest, size=min(SHOWN_ITEMS, len(rest)), replace=False
    )

    def glance(code: int) -> ItemPreview:
        title = catalog[TITLE][code] if TITLE in catalog.columns else None
        return ItemPreview(
            item=catalog[ITEM][code], title=title or None, interactions=int(counts[code])
        )

    return [glance(int(code)) for code in order[:SHOWN_ITEMS]], [
        glance(int(code)) for code in drawn
    ]


def describe_provenance(provenance: Mapping[str, Any]) -> str:
    """Tell in one line where a dataset comes from and what was done to it."""
    files = provenance.get("files")
    names = (
        [str(file["name"]) for file in files if "name" in file] if isinstance(files, list) else []
    )
    parts = [
        f"prepared by ld4mrec {provenance.get('ld4mrec', '?')} from {', '.join(names) or 'unknown files'}"
    ]
    options = provenance.get("options")
    if isinstance(options, dict):
        parts += [
            f"{label} {options[key]}"
            for key, label in _TOLD.items()
            if options.get(key) is not None
        ]
    noise = provenance.get("noise")
    for step in noise if isinstance(noise, list) else []:
        parts.append(
            f"{step.get('type')} noise at ratio {step.get('ratio')}, seed {step.get('seed')}"
        )
    return "; ".join(parts)


_TOLD = {"k_core": "k-core", "min_rating": "ratings of at least", "seed": "seed"}
"""Options of `prepare` that the provenance tells → how."""


def _counts_only(value: Any) -> dict[str, int]:
    entries = value.items() if isinstance(value, dict) else ()
    return {str(why): count for why, count in entries if isinstance(count, int)}
