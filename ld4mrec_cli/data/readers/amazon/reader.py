"""Raw Amazon review data of 2014, 2018 and 2023: reviews, ratings, metadata and image vectors.

All are streamed: of a review only user, item, rating and time stay in memory; of the metadata
and of the image vectors only those of the items that remain after filtering.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from ld4mrec_cli.data.columns import ITEM
from ld4mrec_cli.data.readers.amazon.generations import (
    HEADER,
    is_headerless,
    recognize,
    table_generation,
)
from ld4mrec_cli.data.readers.amazon.records import collect, load_items, rating_rows, review_rows
from ld4mrec_cli.data.readers.arrays import feature_files, is_keyed, read_keyed
from ld4mrec_cli.data.readers.base import RawData, RawFeatures
from ld4mrec_cli.data.readers.content import data_suffix
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.image_vectors import read_image_vectors
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
    has_keyed = any(is_keyed(path) for path in feature_files(raw).values())
    unused = sorted(context.options.columns.keys() - ({ITEM} if has_keyed else set()))
    if unused:
        raise SourceError(
            f"prepare.columns names {unused[0]}, which does not act on this layout",
            where=raw,
            hint="The fields of Amazon's files are known",
        )
    generation = recognize(files.reviews, files.ratings, files.metadata)
    notes: dict[str, int] = {}
    features = _features(raw, files, context, notes)
    sources, rows = (files.reviews, review_rows) if files.reviews else (files.ratings, rating_rows)
    interactions = collect(chain.from_iterable(rows(path, generation, context) for path in sources))
    if interactions.is_empty():
        raise SourceError("holds no review", where=sources[0])
    if files.reviews and files.ratings:
        notes["ratings-only files (the reviews are read instead)"] = len(files.ratings)
    return RawData(
        format="amazon",
        interactions=interactions,
        load_items=partial(load_items, files.metadata, generation, context, notes),
        features=features,
        files=[*sources, *files.metadata, *(feature.path for feature in features.values())],
        notes=notes,
        detail=generation.name,
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


def _features(
    raw: Path, files: Files, context: ReadContext, notes: dict[str, int]
) -> dict[str, RawFeatures]:
    features: dict[str, RawFeatures] = {}
    for name, path in feature_files(raw).items():
        if not is_keyed(path):
            raise SourceError(
                "its rows cannot be told apart here; give Parquet keyed by item, or .npz",
                where=path,
            )
        features[name] = read_keyed(path, context)
    for path in files.vectors:
        if IMAGE in features:
            raise SourceError(
                f"modality '{IMAGE}' has a second file, {features[IMAGE].path.name}", where=path
            )
        features[IMAGE] = read_image_vectors(path, context, notes)
    return features
