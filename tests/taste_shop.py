"""A shop whose customers buy what they like: German titles, four kinds of things, new ones too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

KINDS = {
    "lampen": "Lampe Licht LED Glühbirne schön",
    "möbel": "Tisch Eiche Büro Stuhl Schreibtisch",
    "mützen": "Mütze Wolle warm Winter Schal",
    "küche": "Topf Pfanne Löffel Kelle Küche",
}
NAMES = list(KINDS)
N_OLD, N_NEW, N_LATER, N_USERS = 80, 16, 4, 160


def kind_of(item: str) -> str:
    """The kind of an item, by its number."""
    return NAMES[int(item[1:]) % len(NAMES)]


def taste_of(user: str) -> str:
    """The kind that a user likes."""
    return NAMES[int(user[1:]) % len(NAMES)]


def write_shop(directory: Path) -> Path:
    """Write orders.csv, items.csv (80 items), new.csv (16 more) and later.csv (4 more)."""
    rng = np.random.default_rng(0)
    rows = [_describe(f"i{n}", rng) for n in range(N_OLD + N_NEW + N_LATER)]
    spans = {"items": (0, N_OLD), "new": (N_OLD, N_OLD + N_NEW), "later": (N_OLD + N_NEW, None)}
    for name, span in spans.items():
        lines = ["item,title,category,price", *rows[slice(*span)]]
        (directory / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    orders = set()
    for user in range(N_USERS):
        for _ in range(12):
            likes = rng.random() < 0.85
            kind = user % len(NAMES) if likes else int(rng.integers(len(NAMES)))
            item = int(rng.integers(N_OLD // len(NAMES))) * len(NAMES) + kind
            orders.add((user, item))
    lines = ["user,item", *(f"u{user},i{item}" for user, item in sorted(orders))]
    (directory / "orders.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


def _describe(item: str, rng: np.random.Generator) -> str:
    words = rng.choice(KINDS[kind_of(item)].split(), 4)
    return f"{item},{' '.join(words)} {item[-1]},{kind_of(item)},{10 + int(item[1:])}"
