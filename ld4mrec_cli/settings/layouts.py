"""The raw layouts that `prepare` reads, by name: help, messages and the readers' registry derive from this table."""

from __future__ import annotations

AUTO = "auto"
"""Recognize the layout from file names and headers."""

LAYOUTS: dict[str, str] = {
    "amazon": "Amazon reviews of 2014, 2018 or 2023, with their metadata",
    "mmrec": "the MMRec layout: one *.inter file, NAME_feat.npy, items.tsv",
    "recbole": "RecBole's atomic files: *.inter, *.item",
    "table": "plain CSV, TSV or Parquet tables",
}
"""Layout → what it is. A reader is the module of that name in ``ld4mrec_cli.data.readers``."""
