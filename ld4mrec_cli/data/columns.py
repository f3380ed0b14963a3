"""Names of the columns that tables have inside ld4mrec, whatever the raw source called them."""

from __future__ import annotations

import re
from typing import Final

USER: Final = "user"
ITEM: Final = "item"
RATING: Final = "rating"
TIMESTAMP: Final = "timestamp"
LABEL: Final = "label"
TITLE: Final = "title"

TRAIN, VALID, TEST = "train", "valid", "test"
SPLITS = (TRAIN, VALID, TEST)

USUAL_NAMES: dict[str, tuple[str, ...]] = {
    USER: ("user", "userid", "uid", "reviewerid", "customer", "customerid"),
    ITEM: ("item", "itemid", "iid", "asin", "product", "productid", "movieid"),
    RATING: ("rating", "overall", "stars"),
    TIMESTAMP: ("timestamp", "time", "datetime", "date", "ts", "unixreviewtime"),
    LABEL: ("xlabel", "split"),
    TITLE: ("title", "name", "itemname", "productname", "movietitle", "itemtitle"),
}
"""What raw files usually call each column, in lower case without punctuation."""

LABEL_VALUES = {"0": 0, "1": 1, "2": 2, "train": 0, "valid": 1, "validation": 1, "val": 1, "test": 2}
"""Spellings of a given split label; the value is the index into :data:`SPLITS`."""


def plain_name(column: str) -> str:
    """Reduce a raw column name to what :data:`USUAL_NAMES` lists: ``user_id`` and ``userID`` are ``userid``."""
    return re.sub(r"[^a-z0-9]", "", column.lower())
