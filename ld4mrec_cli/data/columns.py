"""Names of the columns inside ld4mrec, and their usual names in raw files."""

from __future__ import annotations

import re
from typing import Final

USER: Final = "user"
ITEM: Final = "item"
RATING: Final = "rating"
TIMESTAMP: Final = "timestamp"
SPLIT: Final = "split"
TITLE: Final = "title"
EVENT: Final = "event"
WEIGHT: Final = "weight"
RANK: Final = "rank"
SCORE: Final = "score"

COLUMN_ALIASES: dict[str, tuple[str, ...]] = {
    USER: ("user", "userid", "uid", "reviewerid", "customer", "customerid"),
    ITEM: ("item", "itemid", "iid", "asin", "product", "productid", "movieid"),
    RATING: ("rating", "overall", "stars"),
    TIMESTAMP: ("timestamp", "time", "datetime", "date", "ts", "unixreviewtime"),
    SPLIT: ("xlabel", "split"),
    TITLE: ("title", "name", "itemname", "productname", "movietitle", "itemtitle"),
    EVENT: (),
    WEIGHT: (),
    RANK: ("rank", "position"),
    SCORE: ("score", "prediction"),
}
"""Usual names of each column in raw files, in lower case without punctuation. Events and weights
are read only where the user names their column: a product has a weight, too. Ranks and scores are
of lists (`evaluate --lists-from`)."""


def plain_name(column: str) -> str:
    """Reduce a name to the form of :data:`COLUMN_ALIASES`: ``user_id``, ``userID`` → ``userid``."""
    return re.sub(r"[^a-z0-9]", "", column.lower())
