"""Synthetic raw files: users prefer some content clusters, so item content is informative."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM, TIMESTAMP, TITLE, USER

_THEMES = (
    ("trail", "boot pack ridge camp rope"),
    ("kitchen", "pan oven whisk spice plate"),
    ("garden", "seed spade soil pot hedge"),
    ("studio", "paint brush canvas easel ink"),
    ("music", "string drum reed amp tune"),
    ("ocean", "sail wave reef tide buoy"),
    ("winter", "ski snow glove sled frost"),
    ("workshop", "saw drill clamp bolt vise"),
    ("library", "novel shelf atlas essay verse"),
    ("arcade", "pixel joystick quest level coin"),
    ("bicycle", "wheel pedal chain saddle helmet"),
    ("tea", "leaf kettle cup steam jasmine"),
)


@dataclass(frozen=True)
class SyntheticSize:
    """Size of the synthetic data."""

    users: int = 900
    items: int = 480
    interactions_per_user: int = 8
    image_dim: int = 32
    clusters_per_user: int = 2
    """Number of content clusters that a user prefers."""
    loyalty: float = 0.85
    """Share of a user's interactions with the preferred clusters."""
    popularity_sigma: float = 0.6
    """Standard deviation of the log of an item's popularity."""


def write_synthetic(directory: Path, seed: int, size: SyntheticSize | None = None) -> None:
    """Write ``interactions.csv``, ``items.csv`` and ``image_feat.npy`` into a directory.

    Each item belongs to a content cluster, which its words and its image vector show. Each user
    prefers a few clusters and interacts mostly with their items, more often with popular ones.
    """
    size = size or SyntheticSize()
    rng = np.random.default_rng(seed)
    n_clusters = len(_THEMES)
    cluster = rng.integers(n_clusters, size=size.items)
    popularity = rng.lognormal(sigma=size.popularity_sigma, size=size.items)
    centers = rng.normal(size=(n_clusters, size.image_dim))
    images = centers[cluster] + rng.normal(scale=0.8, size=(size.items, size.image_dim))
    np.save(directory / "image_feat.npy", images.astype(np.float32), allow_pickle=False)
    item_ids = [f"item-{number:04d}" for number in range(size.items)]
    titles, descriptions = zip(*(_sample_text(int(c), rng) for c in cluster), strict=True)
    item_table = pl.DataFrame({ITEM: item_ids, TITLE: titles, "description": descriptions})
    item_table.write_csv(directory / "items.csv")
    users, items = _sample_interactions(size, cluster, popularity, rng)
    columns = {
        USER: [f"user-{user:04d}" for user in users],
        ITEM: [item_ids[item] for item in items],
        TIMESTAMP: 1_700_000_000 + rng.integers(0, 10_000_000, size=len(users)),
    }
    pl.DataFrame(columns).write_csv(directory / "interactions.csv")


def _sample_text(cluster: int, rng: np.random.Generator) -> tuple[str, str]:
    """Return title and description of an item."""
    theme, text = _THEMES[cluster]
    words = text.split()
    first, second = rng.choice(words, size=2, replace=False)
    title = f"{theme.title()} {first} {second} no. {rng.integers(100, 1000)}"
    return title, f"A {theme} piece: " + " ".join(rng.choice(words, size=6))


def _sample_interactions(
    size: SyntheticSize, cluster: np.ndarray, popularity: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sample users ``(n,)`` and items ``(n,)``.

    Args:
        size: size of the data.
        cluster: content cluster of each item, ``(n_items,)``.
        popularity: weight of each item, ``(n_items,)``.
        rng: source of randomness.
    """
    users, items = [], []
    for user in range(size.users):
        preferences = rng.choice(len(_THEMES), size=size.clusters_per_user, replace=False)
        preferred = popularity * np.where(np.isin(cluster, preferences), 1.0, 0.0)
        weights = (
            size.loyalty * preferred / max(preferred.sum(), 1e-12)
            + (1.0 - size.loyalty) * popularity / popularity.sum()
        )
        n_items = min(len(cluster), max(3, int(rng.poisson(size.interactions_per_user))))
        sample = rng.choice(len(cluster), size=n_items, replace=False, p=weights / weights.sum())
        users.append(np.full(n_items, user))
        items.append(sample)
    return np.concatenate(users), np.concatenate(items)
