"""Statistics of raw files or a dataset directory. Nothing is filtered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM, RATING, SPLIT, TIMESTAMP, TITLE, WEIGHT
from ld4mrec_cli.data.dataset import Dataset, is_dataset
from ld4mrec_cli.data.filters import k_core
from ld4mrec_cli.data.inspect.interactions import (
    Interactions,
    describe_provenance,
    from_dataset,
    from_raw,
)
from ld4mrec_cli.data.inspect.parts import (
    summarize_degrees,
    summarize_events,
    summarize_modality,
    summarize_ratings,
    summarize_texts,
    summarize_times,
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

K_CORE = 5
"""The k-core whose size is reported for raw files."""
N_PREVIEWS = 5
"""Number of popular items, and of sample items."""
SAMPLE_SEED = 0


def inspect(directory: Path, options: PrepareConfig) -> Inspection:
    """Inspect a dataset directory, or a raw directory in any layout that `prepare` reads.

    Args:
        directory: the directory.
        options: layout, columns and text fields of raw files; not used for a dataset.

    Raises:
        SourceError: the raw files are missing, malformed or inconsistent.
        DatasetError: a file of the dataset is missing or was changed.
    """
    if is_dataset(directory):
        return _inspect_dataset(Dataset.open(directory))
    return _inspect_raw(directory, options)


def _inspect_raw(directory: Path, options: PrepareConfig) -> Inspection:
    context = ReadContext(options, needs_weights=False)
    source = read_source(directory, options, context)
    interactions = from_raw(source)
    modalities = _summarize_raw_modalities(source, interactions)
    unused = len(source.items.join(interactions.catalog, on=ITEM, how="anti"))
    bad_lines = {"malformed lines": context.n_bad_lines} if context.n_bad_lines else {}
    description: dict[str, Any] = {
        "name": directory.resolve().name,
        "kind": "raw",
        "layout": source.layout,
        "split_method": None,
        "provenance": f"{source.layout} layout: " + ", ".join(path.name for path in source.files),
        "hash": None,
        "notes": {**source.notes, **bad_lines},
        "events": summarize_events(context.events, options.event_weights),
    }
    return _summarize(description, interactions, unused, modalities)


def _inspect_dataset(dataset: Dataset) -> Inspection:
    interactions = from_dataset(dataset)
    provenance = dataset.schema.provenance
    layout = provenance.get("format")
    description: dict[str, Any] = {
        "name": dataset.name,
        "kind": "dataset",
        "layout": layout if isinstance(layout, str) else None,
        "split_method": dataset.schema.split_method,
        "provenance": describe_provenance(provenance),
        "hash": dataset.hash,
        "notes": _get_counts(provenance.get("left_out")),
        "events": summarize_events(_get_counts(provenance.get("events")), _get_weights(provenance)),
    }
    unused = interactions.n_items - len(np.unique(interactions.items))
    return _summarize(description, interactions, unused, _summarize_modalities(dataset))


def _summarize_modalities(dataset: Dataset) -> list[ModalitySummary]:
    summaries = []
    for name in dataset.modality_names():
        features = dataset.modality(name, is_mapped=True)
        n_items = dataset.shape[1]
        summaries.append(summarize_modality(name, features.values, features.present, n_items))
    return summaries


def _summarize_raw_modalities(source: RawData, interactions: Interactions) -> list[ModalitySummary]:
    item_ids = set(interactions.catalog[ITEM])
    return [
        summarize_modality(name, features.values, features.own_rows(item_ids), interactions.n_items)
        for name, features in sorted(source.features.items())
    ]


def _summarize(
    description: dict[str, Any],
    interactions: Interactions,
    n_unused_items: int,
    modalities: list[ModalitySummary],
) -> Inspection:
    users, items = interactions.unique_pairs()
    n_users, n_items = interactions.n_users, interactions.n_items
    item_counts = np.bincount(items, minlength=n_items)
    has_splits = SPLIT in interactions.details.columns
    popular, sample = _preview_items(interactions.catalog, item_counts)
    return Inspection(
        **description,
        counts=Counts(
            users=n_users,
            items=n_items,
            interactions=len(interactions.users),
            repeated_interactions=len(interactions.users) - len(users),
            density=len(users) / (n_users * n_items),
            items_without_interactions=n_unused_items,
        ),
        splits=_summarize_splits(interactions) if has_splits else [],
        cold=_count_cold(interactions) if has_splits else None,
        user_degrees=summarize_degrees(np.bincount(users, minlength=n_users)),
        item_degrees=summarize_degrees(item_counts),
        core=_summarize_core(users, items) if description["kind"] == "raw" else None,
        ratings=summarize_ratings(interactions.get_known(RATING)),
        weights=summarize_ratings(interactions.get_known(WEIGHT)),
        times=summarize_times(interactions.get_known(TIMESTAMP)),
        modalities=modalities,
        texts=summarize_texts(interactions.catalog.drop(ITEM)),
        popular_items=popular,
        sample_items=sample,
    )


def _find_warm(interactions: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Return which users ``(n_users,)`` and items ``(n_items,)`` have a training interaction."""
    is_train = interactions.details[SPLIT].to_numpy() == SPLITS.index(Split.TRAIN)
    users = np.zeros(interactions.n_users, dtype=bool)
    items = np.zeros(interactions.n_items, dtype=bool)
    users[interactions.users[is_train]] = True
    items[interactions.items[is_train]] = True
    return users, items


def _count_cold(interactions: Interactions) -> Cold:
    warm_users, warm_items = _find_warm(interactions)
    return Cold(users=int((~warm_users).sum()), items=int((~warm_items).sum()))


def _summarize_splits(interactions: Interactions) -> list[SplitSummary]:
    warm_users, warm_items = _find_warm(interactions)
    is_cold = ~(warm_users[interactions.users] & warm_items[interactions.items])
    codes = interactions.details[SPLIT].to_numpy()
    summaries = []
    for code, name in enumerate(SPLITS):
        in_split = codes == code
        summaries.append(
            SplitSummary(
                name=name,
                interactions=int(in_split.sum()),
                share=float(in_split.mean()),
                users=len(np.unique(interactions.users[in_split])),
                items=len(np.unique(interactions.items[in_split])),
                cold_interactions=int((in_split & is_cold).sum()),
            )
        )
    return summaries


def _summarize_core(users: np.ndarray, items: np.ndarray) -> CoreSummary:
    in_core = k_core(users, items, K_CORE)
    return CoreSummary(
        k=K_CORE,
        users=len(np.unique(users[in_core])),
        items=len(np.unique(items[in_core])),
        interactions=int(in_core.sum()),
    )


def _preview_items(
    catalog: pl.DataFrame, counts: np.ndarray
) -> tuple[list[ItemPreview], list[ItemPreview]]:
    """Return the most popular items, and a random sample of the others with a fixed seed."""
    order = np.argsort(-counts, kind="stable")
    others = np.sort(order[N_PREVIEWS:])
    rng = np.random.default_rng(SAMPLE_SEED)
    sample = rng.choice(others, size=min(N_PREVIEWS, len(others)), replace=False)

    def preview(code: int) -> ItemPreview:
        title = catalog[TITLE][code] if TITLE in catalog.columns else None
        return ItemPreview(
            item=catalog[ITEM][code], title=title or None, interactions=int(counts[code])
        )

    return [preview(int(code)) for code in order[:N_PREVIEWS]], [preview(int(c)) for c in sample]


def _get_weights(provenance: Mapping[str, Any]) -> dict[str, float]:
    """Return the weights of events from a schema file, which may be damaged."""
    options = provenance.get("options")
    weights = options.get("event_weights") if isinstance(options, dict) else None
    entries = weights.items() if isinstance(weights, dict) else ()
    return {event: float(w) for event, w in entries if isinstance(w, int | float)}


def _get_counts(value: Any) -> dict[str, int]:
    """Return the whole numbers of a mapping from a schema file, which may be damaged."""
    entries = value.items() if isinstance(value, dict) else ()
    return {str(reason): count for reason, count in entries if isinstance(count, int)}
