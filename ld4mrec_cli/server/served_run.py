"""A run in memory with all that requests need."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ld4mrec_cli import __version__
from ld4mrec_cli.data.item_columns import example_values
from ld4mrec_cli.models.specs import MODELS
from ld4mrec_cli.runs.run_directory import RunDirectory
from ld4mrec_cli.server.pictures import Pictures
from ld4mrec_cli.server.search import SearchIndex
from ld4mrec_cli.serving.recommender import Recommender
from ld4mrec_cli.utils.errors import UserError

MAX_LISTED_VALUES = 60
"""Values of a column that a page can offer to choose from."""


class ServedRun:
    """A run that is loaded. Nothing in it changes, so that threads share it."""

    def __init__(self, path: Path, device: str, images: Path | None) -> None:
        """Load a run.

        What is computed at the first use elsewhere is computed here: threads that came first would
        do it several times, and their requests would be slow.

        Raises:
            UserError: the run is damaged or has no weights, or the pictures do not fit it.
        """
        self.path = path
        self.recommender = Recommender(RunDirectory.open(path), device)
        self.loaded = datetime.now(UTC).isoformat(timespec="seconds")
        catalog = self.recommender.catalog
        self.n_users_of_item = np.bincount(
            self.recommender.known.indices, minlength=len(catalog.items)
        )
        self.search = SearchIndex(catalog, self.n_users_of_item)
        self.pictures = Pictures(images, catalog.items)
        self.columns = catalog.item_columns
        self.info = self._describe()
        self._warm_up()

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return self.path.name

    def _describe(self) -> dict[str, Any]:
        """Fields of :class:`ld4mrec_cli.server.schemas.InfoAnswer` that the run decides."""
        manifest, catalog = self.recommender.run.manifest, self.recommender.catalog
        spec = MODELS[manifest.model]
        return {
            "run": self.name,
            "dataset": manifest.dataset.name,
            "model": manifest.model,
            "version": __version__,
            "loaded": self.loaded,
            "n_users": len(catalog.users),
            "n_items": len(catalog.items),
            "has_titles": catalog.titles is not None,
            "has_images": len(self.pictures) > 0,
            "has_reasons": spec.has_reasons,
            "has_similar": spec.relates_items,
            "scores_new_users": spec.scores_new_users,
            "columns": [
                {"name": name, "values": self._values(name)} for name in self.columns.columns
            ],
        }

    def _values(self, column: str) -> list[str] | None:
        """All values of a column of the item table, the most common first; None if many."""
        values = example_values(self.columns[column])
        return values if len(values) <= MAX_LISTED_VALUES else None

    def _warm_up(self) -> None:
        recommender = self.recommender
        _ = recommender.popularity
        if MODELS[recommender.run.manifest.model].relates_items:
            recommender.similar(recommender.items[0], 1)
        with suppress(UserError):  # scores that are not finite: said to whoever asks
            recommender.recommend(recommender.users[0], k=1)

    def title(self, index: int) -> str | None:
        """Title of an item; None where it has none."""
        titles = self.recommender.titles
        return (titles[index] or None) if titles else None

    def describe_item(self, index: int) -> dict[str, Any]:
        """Id, title and picture of an item."""
        item = self.recommender.items[index]
        return {"item": item, "title": self.title(index), "image": self.pictures.address(item)}
