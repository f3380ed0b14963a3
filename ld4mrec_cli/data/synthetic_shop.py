"""A synthetic shop over several days, whose answer is known: customers buy within their tastes.

Every night the shop exports the same files::

    orders.csv     customer, product, type (view, cart, buy), date: all events until that day
    items.csv      product, title (German), category, price: the catalog of that day
    stock.csv      product: what can be sold
    arrivals.csv   product: new since the day before
    returned.csv   customer, product: not to be shown to that customer again
    today.csv      customer, product: purchases since the export, of new customers too
    new-items.csv  like items.csv: products that come after the export, without an event

The new products of a day have no event on that day, unless ``ShopSize.first_events`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

THEMES = {
    "Küche": "Pfanne Gewürzmühle Schüssel Löffel Töpfchen Küchenbrett",
    "Garten": "Gießkanne Blumenkübel Kräuterbeet Rosenbögen Häcksler Sträucherschere",
    "Büro": "Füller Bürostuhl Schreibblöcke Heftgerät Ablagefächer Papierkörbe",
    "Wandern": "Rucksäcke Bergstöcke Trinkschläuche Höhenmesser Zeltschnüre Hüttenschuhe",
    "Bad": "Zahnbürste Handtücher Duschvorhänge Spülbürste Waschschüssel Föhn",
    "Musik": "Flöte Geigenbögen Notenständer Hörner Trommelstöcke Klavierhöckchen",
    "Spielzeug": "Bauklötze Plüschbär Würfelbecher Hüpfball Rätselbuch Puppenmöbel",
    "Fahrrad": "Fahrradschlösser Räder Sättel Gepäckträger Schläuche Lenkergriffe",
}
"""Category → its products, in German. Two of eight tastes are a quarter of the catalog."""
_LOOKS = (
    "schön",
    "grün",
    "weiß",
    "groß",
    "für Anfänger",
    "natürlich",
    "blau",
    "süß",
    "zäh",
    "edel",
)
_EVENT_TYPES, _SHARES = ("view", "cart", "buy"), (0.6, 0.25, 0.15)
_FIRST_DAY, _PAST_DAYS = datetime(2026, 3, 1), 60


@dataclass(frozen=True)
class ShopSize:
    """Size of the shop on day 0, and what a day adds."""

    customers: int = 3000
    items: int = 800
    new_customers: int = 20
    new_items: int = 100
    later_items: int = 30
    """Products of ``new-items.csv``, which are among the new ones of the next day."""
    events_per_customer: int = 14
    active_share: float = 0.1
    """Share of the customers who come on a day."""
    first_events: int = 0
    """Events of a new product on its first day."""
    tastes: int = 2
    """Categories that a customer likes."""
    loyalty: float = 0.9
    """Share of a customer's events within the tastes."""


class SyntheticShop:
    """The shop: catalog, customers and events of each day are a function of the seed."""

    def __init__(self, seed: int, size: ShopSize | None = None) -> None:
        self.seed = seed
        self.size = size or ShopSize()
        self.categories = tuple(THEMES)

    def items_until(self, day: int) -> int:
        """Products of the catalog on ``day``."""
        return self.size.items + day * self.size.new_items

    def customers_until(self, day: int) -> int:
        """Customers until ``day``."""
        return self.size.customers + day * self.size.new_customers

    def item_ids(self, first: int, last: int) -> list[str]:
        """Ids of the products from ``first`` to before ``last``."""
        return [f"P{number:05d}" for number in range(first, last)]

    def category_of(self, item: str) -> str:
        """Category of a product."""
        return self.categories[int(self._traits[int(item[1:]), 0])]

    def tastes_of(self, customer: str) -> set[str]:
        """Categories that a customer likes."""
        return {self.categories[taste] for taste in self._tastes(int(customer[1:]))}

    def write_export(self, directory: Path, day: int) -> None:
        """Write the files of a day."""
        directory.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng((self.seed, 1, day))
        n_items, events = self.items_until(day), self.events_until(day)
        events.write_csv(directory / "orders.csv")
        self._item_table(0, n_items).write_csv(directory / "items.csv")
        self._item_table(n_items, n_items + self.size.later_items).write_csv(
            directory / "new-items.csv"
        )
        first = self.items_until(day - 1) if day else 0
        pl.DataFrame({"product": self.item_ids(first, n_items)}).write_csv(
            directory / "arrivals.csv"
        )
        is_sold = rng.random(n_items) < 0.9
        ids = np.array(self.item_ids(0, n_items))
        pl.DataFrame({"product": ids[is_sold]}).write_csv(directory / "stock.csv")
        bought = events.filter(pl.col("type") == "buy").select("customer", "product").unique()
        returned = bought.sort("customer", "product").sample(fraction=0.05, seed=day)
        liked = self._pairs(rng, n=200, day=day)
        pl.concat([returned, liked]).write_csv(directory / "returned.csv")
        self._pairs(rng, n=60, day=day, n_new=10).write_csv(directory / "today.csv")

    def events_until(self, day: int) -> pl.DataFrame:
        """All events until ``day``: customer, product, type, date; in order of time."""
        return pl.concat([self._events_of(one) for one in range(day + 1)]).sort("date")

    def _events_of(self, day: int) -> pl.DataFrame:
        size, rng = self.size, np.random.default_rng((self.seed, 0, day))
        n_known = self.customers_until(day - 1) if day else 0
        new = np.arange(n_known, self.customers_until(day))
        visiting = np.flatnonzero(rng.random(n_known) < size.active_share)
        customers = np.concatenate([visiting, new])
        mean = size.events_per_customer if not day else size.events_per_customer / 4
        counts = np.maximum(3, rng.poisson(mean, size=len(customers)))
        customers = np.repeat(customers, counts)
        catalog = np.arange(self.items_until(day - 1) if day else size.items)
        items = np.array([self._choose(int(customer), catalog, rng) for customer in customers])
        if day and size.first_events:
            fresh = np.arange(self.items_until(day - 1), self.items_until(day))
            more = np.repeat(fresh, size.first_events)
            customers = np.concatenate([customers, self._fans(more, day, rng)])
            items = np.concatenate([items, more])
        minutes = rng.integers(0, 24 * 60 * (1 if day else _PAST_DAYS), size=len(items))
        start = _FIRST_DAY + timedelta(days=_PAST_DAYS + day - 1 if day else 0)
        dates = [(start + timedelta(minutes=int(minute))).isoformat() for minute in minutes]
        types = rng.choice(_EVENT_TYPES, size=len(items), p=_SHARES)
        return pl.DataFrame(
            {
                "customer": [f"K{customer:05d}" for customer in customers],
                "product": [f"P{item:05d}" for item in items],
                "type": types,
                "date": dates,
            }
        )

    def _fans(self, items: np.ndarray, day: int, rng: np.random.Generator) -> np.ndarray:
        """A customer for each of ``items`` ``(n,)`` who likes its category."""
        fans: dict[int, list[int]] = {}
        for customer in range(self.customers_until(day)):
            for taste in self._tastes(customer):
                fans.setdefault(taste, []).append(customer)
        return np.array([rng.choice(fans[int(self._traits[i, 0])]) for i in items])

    def _choose(self, customer: int, catalog: np.ndarray, rng: np.random.Generator) -> int:
        """A product of ``catalog`` ``(n,)``: mostly of the taste, rather a popular one."""
        traits = self._traits[: len(catalog)]
        weights = traits[:, 1]
        if rng.random() < self.size.loyalty:
            weights = weights * np.isin(traits[:, 0], self._tastes(customer))
        return int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))

    def _pairs(self, rng: np.random.Generator, *, n: int, day: int, n_new: int = 0) -> pl.DataFrame:
        """``n`` pairs of a customer, of whom ``n_new`` nobody knows yet, and a liked product."""
        n_known, catalog = self.customers_until(day), np.arange(self.items_until(day))
        known = rng.integers(n_known, size=n - n_new)
        customers = [*known.tolist(), *range(n_known, n_known + n_new)]
        products = [self._choose(customer, catalog, rng) for customer in customers]
        pairs = {
            "customer": [f"K{customer:05d}" for customer in customers],
            "product": [f"P{product:05d}" for product in products],
        }
        return pl.DataFrame(pairs).unique(maintain_order=True)

    @cached_property
    def _traits(self) -> np.ndarray:
        """Category and popularity of the first 10,000 products ``(10000, 2)``."""
        rng = np.random.default_rng((self.seed, 2))
        category = rng.integers(len(THEMES), size=10_000)
        return np.stack([category, rng.lognormal(sigma=0.6, size=10_000)], axis=1)

    def _tastes(self, customer: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, 3, customer))
        return rng.choice(len(THEMES), size=self.size.tastes, replace=False)

    def _item_table(self, first: int, last: int) -> pl.DataFrame:
        """Table of the products from ``first`` to before ``last``."""
        rows = []
        for number, item in zip(range(first, last), self.item_ids(first, last), strict=True):
            rng = np.random.default_rng((self.seed, 4, number))
            category = self.category_of(item)
            words = rng.choice(THEMES[category].split(), size=2, replace=False)
            look = rng.choice(_LOOKS)
            title = f"{words[0]}, {look}, passend zu {words[1]} ({rng.integers(100, 1000)})"
            rows.append((item, title, category, round(float(rng.gamma(3.0, 12.0)), 2)))
        return pl.DataFrame(rows, schema=["product", "title", "category", "price"], orient="row")
