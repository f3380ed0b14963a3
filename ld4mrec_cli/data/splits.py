"""The splits of a dataset, and how raw data spells them."""

from __future__ import annotations

from enum import StrEnum


class Split(StrEnum):
    """A part of the interactions. The order is that of the codes 0, 1, 2 in a split column."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


SPLITS = tuple(Split)
LEFT_OUT = -1
"""Code of an interaction that goes into no split."""

SPLIT_CODES = {
    "0": 0,
    "1": 1,
    "2": 2,
    "train": 0,
    "valid": 1,
    "validation": 1,
    "val": 1,
    "test": 2,
}
"""Spellings of a split in raw data → index into :data:`SPLITS`."""
