"""Raw files with planted tastes: users prefer some content clusters, so that item content carries signal."""

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
    """Size of the generated data."""

    users: int = 900
    items: int = 480
    interactions_per_user: int = 8
    image_dim: int = 32
    tastes_per_user: int = 2
    loyalty: float = 0.85
    """Share of a user's interactions that follow the user's tastes."""
    appeal_spread: float = 0.6
    """Spread of the log of the items' popularity within their cluster."""


def write_synthetic(directory: Path, seed: int, size: SyntheticSize | None = None) -> None:
    """Write ``interactions.csv``, ``items.csv`` (titles, descriptions) and ``image_feat.npy`` into a directory.

    Each item belongs to one content cluster, which shows in its words and its image vector. Each user
    likes a few clusters and picks items of them, the popular ones more often.
    """
    size = size or SyntheticSize()
    rng = np.random.default_rng(seed)
    n_clusters = len(_THEMES)
    cluster = rng.integers(n_clusters, size=size.items)
    appeal = rng.lognormal(sigma=size.appeal_spread, size=size.items)
    centres = rng.normal(size=(n_clusters, size.image_dim))
    images = centres[cluster] + rng.normal(scale=0.8, size=(size.items, size.image_dim))
    np.save(directory / "image_feat.npy", images.astype(np.float32), allow_pickle=False)
    items = [f"item-{number:04d}" for number in range(size.items)]
    titles, descriptions = zip(*(_words(int(c), rng) for c in cluster), strict=True)
    pl.DataFrame({ITEM: items, TITLE: titles, "description": descriptions}).write_csv(
        directory / "items.csv"
    )
    users, picks = _pick(size, cluster, appeal, rng)
    table = {
        USER: [f"user-{user:04d}" for user in users],
        ITEM: [items[pick] for pick in picks],
        TIMESTAMP: 1_700_000_000 + rng.integers(0, 10_000_000, size=len(users)),
    }
    pl.DataFrame(table).write_csv(directory / "interactions.csv")


def _words(cluster: int, rng: np.random.Generator) -> tuple[str, str]:
    theme, text = _THEMES[cluster]
    vocabulary = text.split()
    first, second = rng.choice(vocabulary, size=2, replace=False)
    title = f"{theme.title()} {first} {second} no. {rng.integers(100, 1000)}"
    return title, f"A {theme} piece: " + " ".join(rng.choice(vocabulary, size=6))


def _pick(
    size: SyntheticSize, cluster: np.ndarray, appeal: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    users, picks = [], []
    for user in range(size.users):
        tastes = rng.choice(len(_THEMES), size=size.tastes_per_user, replace=False)
        liked = appeal * np.where(np.isin(cluster, tastes), 1.0, 0.0)
        weights = (
            size.loyalty * liked / max(liked.sum(), 1e-12)
            + (1.0 - size.loyalty) * appeal / appeal.sum()
        )
        count = min(len(appeal), max(3, int(rng.poisson(size.interactions_per_user))))
        chosen = rng.choice(len(appeal), size=count, replace=False, p=weights / weights.sum())
        users.append(np.full(count, user))
        picks.append(chosen)
    return np.concatenate(users), np.concatenate(picks)
