"""The dataset directory that `prepare` writes and every other command reads.

::

    schema.json            format, counts, provenance, SHA-256 of every other file
    users.parquet          user                   raw ids; the row is the internal index
    items.parquet          item, title            likewise
    item_columns.parquet   the other columns of the item table, if any, by which lists are filtered
    train.parquet          user, item             internal indices, sorted; with rating,
    valid.parquet          …                      timestamp and weight where the source has them
    test.parquet           …                      (weights: where they are not all 1)
    features/NAME.npy      (n_items, dim) float32
    features/NAME.present.npy   (n_items,) bool: items with a feature of their own
    text_vectorizer/       how the default text features were made, if they were
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from scipy.sparse import csr_matrix

from ld4mrec_cli.data.checks import (
    map_array,
    read_array,
    read_ids,
    read_interactions,
    read_item_columns,
)
from ld4mrec_cli.data.columns import ITEM, TIMESTAMP, TITLE, USER, WEIGHT
from ld4mrec_cli.data.features import Modality
from ld4mrec_cli.data.item_columns import ITEM_COLUMNS_FILE
from ld4mrec_cli.data.row_values import PLAIN, RowValues, to_matrix
from ld4mrec_cli.data.splits import SPLITS, Split
from ld4mrec_cli.data.text_vectorizer import COMPONENTS_FILE, TERMS_FILE, TextVectorizer
from ld4mrec_cli.settings.base import Count, NonNegativeInt
from ld4mrec_cli.utils.errors import DatasetError, OutputError, UnknownIdError, nearest
from ld4mrec_cli.utils.files import sha256, write_json
from ld4mrec_cli.utils.names import FileName
from ld4mrec_cli.utils.workspace import recover

FORMAT = "ld4mrec-dataset"
VERSION = 1
SCHEMA_FILE = "schema.json"
FOLDS_FILE = "folds.json"
"""Stands in a directory of several datasets; see :mod:`ld4mrec_cli.data.folds`."""
TEXT = "text"
"""The modality of texts."""
MAKE_ONE = "Make one with `ld4mrec prepare --raw DIR`"
ModalityName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class SplitCounts(BaseModel):
    """Sizes of one split."""

    model_config = ConfigDict(extra="forbid")
    interactions: NonNegativeInt
    users: NonNegativeInt
    items: NonNegativeInt


class ModalityInfo(BaseModel):
    """Size of one modality."""

    model_config = ConfigDict(extra="forbid")
    dim: Count
    items_with_feature: NonNegativeInt


class Schema(BaseModel):
    """Content of ``schema.json``."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["ld4mrec-dataset"]
    version: Literal[1]
    name: FileName
    n_users: Count
    n_items: Count
    splits: dict[str, SplitCounts]
    modalities: dict[ModalityName, ModalityInfo]
    split_method: str
    provenance: dict[str, Any]
    files: dict[str, str]
    """SHA-256 by file name."""

    @field_validator("files")
    @classmethod
    def _files_lie_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"'{name}' lies outside the dataset directory")
        return files

    @field_validator("splits")
    @classmethod
    def _all_splits_are_there(cls, splits: dict[str, SplitCounts]) -> dict[str, SplitCounts]:
        if set(splits) != set(SPLITS):
            raise ValueError(f"the splits are not {', '.join(SPLITS)}")
        return splits

    @property
    def n_interactions(self) -> int:
        """Interactions of all splits."""
        return sum(split.interactions for split in self.splits.values())

    @property
    def density(self) -> float:
        """Share of the user-item pairs that have an interaction."""
        return self.n_interactions / (self.n_users * self.n_items)


MIN_LATER_SHARE = 0.9
"""Share of the validation interactions from which a split is in time; of random splits it is far
less."""
UNKNOWN = -1
"""Index of a raw id that is not among the known ones."""


class Ids:
    """Raw ids and their internal indices."""

    def __init__(self, ids: Sequence[str], kind: str) -> None:
        """``kind`` is ``user`` or ``item``, for messages."""
        self.ids = list(ids)
        self.kind = kind

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> str:
        return self.ids[index]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {raw: index for index, raw in enumerate(self.ids)}

    def __contains__(self, raw: str) -> bool:
        return raw in self._index

    def index(self, raw: str) -> int:
        """Internal index of a raw id. Raises UnknownIdError with the nearest known id."""
        index = self._index.get(raw)
        if index is None:
            raise UnknownIdError(
                f"unknown {self.kind} '{raw}'", hint=nearest(raw, self.ids[:20_000])
            )
        return index

    def find(self, raw: Sequence[str]) -> np.ndarray:
        """Internal index of each raw id ``(n,)`` int64; UNKNOWN where there is none."""
        return np.fromiter(
            (self._index.get(one, UNKNOWN) for one in raw), dtype=np.int64, count=len(raw)
        )


def natural_order(ids: Iterable[str]) -> list[str]:
    """Sort ids: by number where all are canonical non-negative integers, else as text."""
    ids = list(ids)
    if all(raw.isascii() and raw.isdigit() and (raw == "0" or raw[0] != "0") for raw in ids):
        return sorted(
            ids, key=lambda raw: (len(raw), raw)
        )  # as int() would, for numbers of any length
    return sorted(ids)


class Dataset:
    """An open dataset directory. Files are read on demand and checked against their hash."""

    def __init__(self, directory: Path, schema: Schema) -> None:
        self.directory = directory
        self.schema = schema

    @classmethod
    def open(cls, directory: Path | str, hint: str = MAKE_ONE) -> Dataset:
        """Open a dataset directory.

        Args:
            directory: where `prepare` wrote it.
            hint: what the user can do if it is missing.

        Raises:
            DatasetError: it is none, or its schema is damaged.
        """
        directory = Path(directory)
        path = directory / SCHEMA_FILE
        if not directory.exists():
            recover(directory.resolve())  # of a `prepare --overwrite` that was killed
        if (directory / FOLDS_FILE).is_file():
            hint = "Name one of them; `ld4mrec compare --data` takes all"
            raise DatasetError("holds folds, each a dataset", where=directory, hint=hint)
        if not path.is_file():
            what = (
                "is not a dataset directory (no schema.json)"
                if directory.exists()
                else "no such dataset directory"
            )
            raise DatasetError(what, where=directory, hint=hint)
        try:
            return cls(directory, Schema.model_validate_json(path.read_text(encoding="utf-8")))
        except (ValidationError, OSError, UnicodeDecodeError):
            raise DatasetError(
                "is damaged or of another version", where=path, hint="Prepare the data again"
            ) from None

    @property
    def name(self) -> str:
        """Name of the dataset."""
        return self.schema.name

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_users, n_items)``."""
        return self.schema.n_users, self.schema.n_items

    @property
    def hash(self) -> str:
        """SHA-256 over the content of all files: equal hashes mean equal data."""
        return hashlib.sha256(json.dumps(self.schema.files, sort_keys=True).encode()).hexdigest()

    def path(self, file: str) -> Path:
        """Return the path of a file of the dataset after a check of its hash.

        Raises:
            DatasetError: the file is missing or was changed.
        """
        path = self.directory / file
        if file not in self.schema.files or not path.is_file():
            raise DatasetError(
                "is missing from the dataset", where=path, hint="Prepare the data again"
            )
        if sha256(path) != self.schema.files[file]:
            raise DatasetError(
                "was changed since it was prepared", where=path, hint="Prepare the data again"
            )
        return path

    @cached_property
    def users(self) -> Ids:
        """Raw user ids."""
        path = self.path("users.parquet")
        return Ids(read_ids(path, USER, self.shape[0], DatasetError)[USER].to_list(), USER)

    @cached_property
    def items(self) -> Ids:
        """Raw item ids."""
        return Ids(self._item_table[ITEM].to_list(), ITEM)

    @cached_property
    def titles(self) -> list[str | None] | None:
        """Title of each item, None where no item has one."""
        return self._item_table[TITLE].to_list() if TITLE in self._item_table.columns else None

    @cached_property
    def _item_table(self) -> pl.DataFrame:
        return read_ids(self.path("items.parquet"), ITEM, self.shape[1], DatasetError)

    @cached_property
    def item_columns(self) -> pl.DataFrame | None:
        """Columns of the item table ``(n_items, …)``; None where the source has none."""
        if ITEM_COLUMNS_FILE not in self.schema.files:
            return None
        return read_item_columns(self.path(ITEM_COLUMNS_FILE), self.shape[1], DatasetError)

    def interactions(self, split: str) -> pl.DataFrame:
        """Return the table of a split, with internal indices ``user`` and ``item``.

        It has ``rating``, ``timestamp`` and ``weight`` where the source has them.
        """
        path = self.path(f"{split}.parquet")
        table = read_interactions(path, self.shape, DatasetError)
        if len(table) != self.schema.splits[split].interactions:
            raise DatasetError("has another number of rows than the schema says", where=path)
        if table.is_empty() and split == Split.TRAIN:
            raise DatasetError("has no training interaction", where=path)
        return table

    def matrix(self, *splits: str, values: RowValues = PLAIN) -> csr_matrix:
        """Return splits, merged, as one float32 matrix ``(n_users, n_items)``.

        Its indices are sorted.

        Args:
            splits: names of splits.
            values: what the entries are; by default 1.
        """
        return to_matrix([self.interactions(split) for split in splits], self.shape, values)

    @cached_property
    def is_split_in_time(self) -> bool:
        """Whether nearly all validation interactions come after the user's training ends.

        So the split of any source counts, whatever made it. Without times it is False.
        """
        if not self.has_times:
            return False
        last = self.interactions(Split.TRAIN).group_by(USER).agg(pl.col(TIMESTAMP).max())
        held_out = self.interactions(Split.VALID)
        if TIMESTAMP not in held_out.columns:
            return False
        pairs = held_out.join(last, on=USER, suffix="_last").drop_nulls()
        times, ends = pairs[TIMESTAMP].to_numpy(), pairs[f"{TIMESTAMP}_last"].to_numpy()
        is_told = times != ends  # equal times tell nothing
        return bool(is_told.any()) and float((times > ends)[is_told].mean()) >= MIN_LATER_SHARE

    @cached_property
    def has_times(self) -> bool:
        """Whether interactions of the training have times."""
        train = self.interactions(Split.TRAIN)
        return TIMESTAMP in train.columns and train[TIMESTAMP].null_count() < len(train)

    def mean_weight(self, *splits: str) -> float | None:
        """Return the mean weight of the interactions of splits; None for data without weights."""
        tables = [self.interactions(split) for split in splits]
        if WEIGHT not in tables[0].columns:
            return None
        weights = np.concatenate([table[WEIGHT].to_numpy() for table in tables])
        return float(weights.mean(dtype=np.float64))

    def modality_names(self, selection: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return the names of the selected modalities, or of all of them.

        Raises:
            DatasetError: the dataset does not have a selected modality.
        """
        names = tuple(self.schema.modalities)
        for name in selection or ():
            if name not in names:
                hint = nearest(name, names) or "It has none"
                raise DatasetError(f"has no modality '{name}'", where=self.directory, hint=hint)
        return names if selection is None else tuple(selection)

    def modality(self, name: str, *, is_mapped: bool = False) -> Modality:
        """Return the features of a modality; ``is_mapped``: memory-mapped, read only."""
        shape = (self.shape[1], self.schema.modalities[name].dim)
        read = map_array if is_mapped else read_array
        return Modality(
            read(self.path(f"features/{name}.npy"), shape, "float32", DatasetError),
            read_array(self.path(f"features/{name}.present.npy"), shape[:1], "bool", DatasetError),
        )

    @cached_property
    def text_vectorizer(self) -> TextVectorizer | None:
        """What made the ``text`` features; None where they came ready-made or from an encoder."""
        if TERMS_FILE not in self.schema.files:
            return None
        dim = self.schema.modalities[TEXT].dim
        return TextVectorizer.read(self.path(TERMS_FILE), self.path(COMPONENTS_FILE), dim)


def is_dataset(directory: Path) -> bool:
    """Whether a directory was written by :func:`write_dataset`."""
    try:
        return (
            json.loads((directory / SCHEMA_FILE).read_text(encoding="utf-8")).get("format")
            == FORMAT
        )
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def is_replaceable(directory: Path) -> bool:
    """Whether a directory holds a dataset and nothing else, so that ``--overwrite`` may replace it.

    Raises:
        OutputError: it is a dataset, but holds a file that its schema does not list.
    """
    if not is_dataset(directory):
        return False
    try:
        listed = {SCHEMA_FILE, *Dataset.open(directory).schema.files}
    except DatasetError:
        return False
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if name not in listed and (path.is_symlink() or not path.is_dir()):
            what = f"holds '{name}', which is no file of the dataset, so it is not replaced"
            raise OutputError(what, where=directory, hint="Move that file, or choose another --out")
    return True


def write_dataset(
    directory: Path,
    *,
    name: str,
    users: Sequence[str],
    items: pl.DataFrame,
    item_columns: pl.DataFrame,
    splits: Mapping[str, pl.DataFrame],
    modalities: Mapping[str, Modality],
    split_method: str,
    provenance: Mapping[str, Any],
    text_vectorizer: TextVectorizer | None = None,
) -> Schema:
    """Fill an empty directory with a dataset and return its schema.

    Args:
        items: ``item`` and, where known, ``title``; the row is the internal index.
        item_columns: other columns of the items, in the same order; may have none.
        splits: table of internal indices by split name.
        text_vectorizer: what made the ``text`` modality, if it is of the default kind.
    """
    pl.DataFrame({USER: users}, schema={USER: pl.String}).write_parquet(directory / "users.parquet")
    items.write_parquet(directory / "items.parquet")
    if item_columns.width:
        item_columns.write_parquet(directory / ITEM_COLUMNS_FILE)
    for split in SPLITS:
        splits[split].sort(USER, ITEM).write_parquet(directory / f"{split}.parquet")
    (directory / "features").mkdir()
    for modality, features in modalities.items():
        np.save(directory / "features" / f"{modality}.npy", features.values, allow_pickle=False)
        np.save(
            directory / "features" / f"{modality}.present.npy", features.present, allow_pickle=False
        )
    if text_vectorizer is not None:
        text_vectorizer.write(directory)
    info = {
        m: ModalityInfo(dim=f.dim, items_with_feature=int(f.present.sum()))
        for m, f in modalities.items()
    }
    schema = Schema(
        format=FORMAT,
        version=VERSION,
        name=name,
        n_users=len(users),
        n_items=len(items),
        splits={split: count_split(table) for split, table in splits.items()},
        modalities=info,
        split_method=split_method,
        provenance=dict(provenance),
        files=hash_files(directory),
    )
    write_json(directory / SCHEMA_FILE, schema.model_dump())
    return schema


def count_split(interactions: pl.DataFrame) -> SplitCounts:
    """Count interactions, users and items of a split."""
    users, items = interactions[USER].n_unique(), interactions[ITEM].n_unique()
    return SplitCounts(interactions=len(interactions), users=users, items=items)


def hash_files(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a dataset directory except its schema, by name."""
    files = sorted(
        path for path in directory.rglob("*") if path.is_file() and path.name != SCHEMA_FILE
    )
    return {path.relative_to(directory).as_posix(): sha256(path) for path in files}
