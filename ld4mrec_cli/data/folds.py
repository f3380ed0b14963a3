"""A directory of folds: datasets of the same users and items that are split differently.

::

    folds.json             format, split method, names of the folds
    fold-1/  fold-2/  …    dataset directories
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ld4mrec_cli.data.dataset import (
    FOLDS_FILE,
    Dataset,
    Schema,
    is_replaceable,
    write_dataset,
)
from ld4mrec_cli.data.features import Modality
from ld4mrec_cli.data.text_vectorizer import TextVectorizer
from ld4mrec_cli.utils.errors import DatasetError, OutputError
from ld4mrec_cli.utils.files import write_json
from ld4mrec_cli.utils.names import FileName


class FoldIndex(BaseModel):
    """Content of ``folds.json``."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["ld4mrec-folds"] = "ld4mrec-folds"
    version: Literal[1] = 1
    split_method: str
    folds: Annotated[list[FileName], Field(min_length=1)]


@dataclass(frozen=True)
class SharedParts:
    """What all folds have in common; a dataset without folds has it, too."""

    name: str
    users: Sequence[str]
    items: pl.DataFrame
    item_columns: pl.DataFrame
    modalities: Mapping[str, Modality]
    text_vectorizer: TextVectorizer | None
    split_method: str

    def write(
        self,
        directory: Path,
        splits: Mapping[str, pl.DataFrame],
        provenance: Mapping[str, Any],
        name: str | None = None,
    ) -> Schema:
        """Fill an empty directory with a dataset; see :func:`write_dataset`."""
        return write_dataset(
            directory,
            name=name or self.name,
            users=self.users,
            items=self.items,
            item_columns=self.item_columns,
            splits=splits,
            modalities=self.modalities,
            split_method=self.split_method,
            provenance=provenance,
            text_vectorizer=self.text_vectorizer,
        )


def write_folds(
    directory: Path,
    shared: SharedParts,
    folds: Sequence[Mapping[str, pl.DataFrame]],
    provenances: Sequence[Mapping[str, Any]],
) -> list[Schema]:
    """Fill an empty directory with folds and return their schemas.

    Args:
        directory: where they are written.
        shared: what they have in common.
        folds: table of internal indices by split name, of each fold.
        provenances: of each fold.
    """
    schemas, names = [], [f"fold-{number}" for number in range(1, len(folds) + 1)]
    for number, (name, splits, provenance) in enumerate(
        zip(names, folds, provenances, strict=True), start=1
    ):
        (directory / name).mkdir()
        place = {"fold": {"number": number, "of": len(folds)}}
        schemas.append(
            shared.write(directory / name, splits, {**provenance, **place}, f"{shared.name}-{name}")
        )
    index = FoldIndex(split_method=shared.split_method, folds=names)
    write_json(directory / FOLDS_FILE, index.model_dump())
    return schemas


def is_folds(directory: Path) -> bool:
    """Whether a directory was written by :func:`write_folds`."""
    try:
        content = json.loads((directory / FOLDS_FILE).read_text(encoding="utf-8"))
        return content.get("format") == "ld4mrec-folds"
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def open_folds(directory: Path) -> list[Dataset]:
    """Open the datasets of a directory of folds, in order.

    Raises:
        DatasetError: the directory or a fold is damaged.
    """
    path = directory / FOLDS_FILE
    try:
        index = FoldIndex.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, OSError, UnicodeDecodeError):
        raise DatasetError(
            "is damaged or of another version", where=path, hint="Prepare the data again"
        ) from None
    return [Dataset.open(directory / name) for name in index.folds]


def open_datasets(paths: Sequence[Path]) -> list[Dataset]:
    """Open datasets; a directory of folds stands for all of them. Raises DatasetError."""
    return [
        dataset
        for path in paths
        for dataset in (open_folds(path) if is_folds(path) else [Dataset.open(path)])
    ]


def can_replace(directory: Path) -> bool:
    """Whether a directory holds a dataset, or folds, and nothing else.

    Raises:
        OutputError: it does, and holds a file beside them.
    """
    if not is_folds(directory):
        return is_replaceable(directory)
    try:
        names = {dataset.directory.name for dataset in open_folds(directory)}
    except DatasetError:
        return False
    for path in sorted(directory.iterdir()):
        if path.name not in {FOLDS_FILE, *names}:
            what = f"holds '{path.name}', which is no part of the folds, so it is not replaced"
            raise OutputError(what, where=directory, hint="Move it, or choose another --out")
    return all(is_replaceable(directory / name) for name in names)
