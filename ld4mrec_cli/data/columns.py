"""Names of the columns that tables have inside ld4mrec, whatever the raw source called them."""

from __future__ import annotations

import re
from typing import Final

USER: Final = "user"
ITEM: Final = "item"
RATING: Final = "rating"
TIMESTAMP: Final = "timestamp"
SPLIT: Final = "split"
TITLE: Final = "title"

COLUMN_ALIASES: dict[str, tuple[str, ...]] = {
    USER: ("user", "userid", "uid", "reviewerid", "customer", "customerid"),
    ITEM: ("item", "itemid", "iid", "asin", "product", "productid", "movieid"),
    RATING: ("rating", "overall", "stars"),
    TIMESTAMP: ("timestamp", "time", "datetime", "date", "ts", "unixreviewtime"),
    SPLIT: ("xlabel", "split"),
    TITLE: ("title", "name", "itemname", "productname", "movietitle", "itemtitle"),
}
"""What raw files usually call each column, in lower case without punctuation."""


def plain_name(column: str) -> str:
    """Reduce a raw column name to what :data:`COLUMN_ALIASES` lists: ``user_id`` and ``userID`` are ``userid``."""
    return re.sub(r"[^a-z0-9]", "", column.lower())
