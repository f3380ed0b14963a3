"""Raw Amazon review data of 2014, 2018 and 2023: reviews, ratings, metadata and image vectors.

All are streamed: of a review only user, item, rating and time stay in memory; of the metadata
and of the image vectors only those of the items that remain after filtering.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.readers.amazon.generations import (
    HEADER,
    Generation,
    is_headerless,
    recognize,
    table_generation,
)
from ld4mrec_cli.data.readers.amazon.records import collect, load_items, rating_rows, review_rows
from ld4mrec_cli.data.readers.amazon.splits import find_split_files, read_splits
from ld4mrec_cli.data.readers.arrays import read_keyed_features
from ld4mrec_cli.data.readers.base import RawData, RawFeatures
from ld4mrec_cli.data.readers.columns import check_settings_act
from ld4mrec_cli.data.readers.content import data_suffix
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.events import weigh_ratings
from ld4mrec_cli.data.readers.image_vectors import read_image_vectors
from ld4mrec_cli.data.readers.json_lines import json_lines
from ld4mrec_cli.utils.errors import SourceError

JSON_SUFFIXES = (".json", ".jsonl")
TABLE_SUFFIX = ".csv"
VECTORS_PATTERN = "image_features*.b"
METADATA = "meta"
OTHER_TABLES = ("interactions.csv", "items.csv", "users.csv")
"""Tables of another layout, whatever their content."""
IMAGE = "image"


@dataclass(frozen=True)
class Files:
    """The files of a directory by their content."""

    reviews: list[Path]
    ratings: list[Path]
    metadata: list[Path]
    vectors: list[Path]

    @classmethod
    def of(cls, raw: Path) -> Files:
        """List the files by name; a table counts where it holds ratings. Raises SourceError."""
        lines = [path for path in sorted(raw.iterdir()) if data_suffix(path) in JSON_SUFFIXES]
        tables = _tables(raw)
        return cls(
            reviews=[path for path in lines if not path.name.startswith(METADATA)],
            ratings=[
                path for path in tables if path.name not in OTHER_TABLES and table_generation(path)
            ],
            metadata=[path for path in lines if path.name.startswith(METADATA)],
            vectors=sorted(raw.glob(VECTORS_PATTERN)),
        )


def _tables(raw: Path) -> list[Path]:
    return [
        path
        for path in sorted(raw.iterdir())
        if data_suffix(path) == TABLE_SUFFIX and path.is_file()
    ]


def fits(raw: Path) -> bool:
    """Whether a directory holds Amazon reviews or ratings. Raises SourceError as :class:`Files`."""
    files = Files.of(raw)
    return bool(files.reviews or files.ratings)


def read(raw: Path, context: ReadContext) -> RawData:
    """Read the reviews, or else the ratings, of a directory; metadata and image vectors come later.

    Raises:
        SourceError: no review file, a mixture of generations, a damaged gzip; or, unless
            ``context`` skips such lines, one that is no JSON object or lacks a field.
    """
    files = Files.of(raw)
    if not files.reviews and not files.ratings:
        raise _no_reviews(raw)
    check_settings_act(raw, context.options)
    generation = recognize(files.reviews, files.ratings, files.metadata)
    notes: dict[str, int] = {}
    features = _features(raw, files, context, notes)
    sources, interactions = _read_interactions(files, generation, context, notes)
    if interactions.is_empty():
        raise SourceError("holds no review", where=sources[0])
    return RawData(
        format="amazon",
        interactions=weigh_ratings(interactions, sources[0], context),
        load_items=partial(load_items, files.metadata, generation, context, notes),
        features=features,
        files=[*sources, *files.metadata, *(feature.path for feature in features.values())],
        notes=notes,
        detail=generation.name,
        item_files=files.metadata,
        example_item=partial(_first_item, files.metadata, generation, context),
    )


def _no_reviews(raw: Path) -> SourceError:
    unclear = next((path for path in _tables(raw) if is_headerless(path)), None)
    if unclear is None:
        return SourceError("holds no review file (such as Gift_Cards_5.json.gz)", where=raw)
    return SourceError(
        "has no header, and its ids do not look like those of Amazon",
        where=unclear,
        line=1,
        hint=f"Put the line {','.join(HEADER)} above it, in the right order",
    )


def _read_interactions(
    files: Files, generation: Generation, context: ReadContext, notes: dict[str, int]
) -> tuple[list[Path], pl.DataFrame]:
    """Read the published split, else the reviews, else the ratings: their files and the table."""
    splits = find_split_files(files.ratings)
    if splits:
        if files.reviews:
            notes["review files (the published split is read instead)"] = len(files.reviews)
        return list(splits.values()), read_splits(splits, generation, context)
    if files.reviews and files.ratings:
        notes["ratings-only files (the reviews are read instead)"] = len(files.ratings)
    paths, rows = (files.reviews, review_rows) if files.reviews else (files.ratings, rating_rows)
    return paths, collect(chain.from_iterable(rows(path, generation, context) for path in paths))


def _first_item(paths: list[Path], generation: Generation, context: ReadContext) -> str | None:
    """The first item id of the metadata."""
    for path in paths:
        for _, record in json_lines(path, context, literals=generation.literals):
            ids = (record.get(name) for name in generation.item)
            item = next((value for value in ids if isinstance(value, str)), None)
            if item is not None:
                return item
    return None


def _features(
    raw: Path, files: Files, context: ReadContext, notes: dict[str, int]
) -> dict[str, RawFeatures]:
    features = read_keyed_features(raw, context)
    for path in files.vectors:
        if IMAGE in features:
            raise SourceError(
                f"modality '{IMAGE}' has a second file, {features[IMAGE].path.name}", where=path
            )
        features[IMAGE] = read_image_vectors(path, context, notes)
    return features
