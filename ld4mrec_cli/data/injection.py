"""Noise injection into a dataset directory: training interactions change, all else stays byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from ld4mrec_cli import __version__
from ld4mrec_cli.data.columns import ITEM, USER
from ld4mrec_cli.data.dataset import (
    SCHEMA_FILE,
    Dataset,
    Schema,
    count_split,
    hash_files,
    is_dataset,
)
from ld4mrec_cli.data.noise import Noise, NoiseType, TooMuchNoise, inject
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.utils.errors import DatasetError, UserError, nearest
from ld4mrec_cli.utils.files import atomic_directory, check_output_directory, write_json


def inject_noise(
    data: Path, out: Path, kind: str, ratio: float, seed: int, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write a copy of the dataset ``data`` to ``out`` with noise in its training split; return a report.

    Raises:
        UserError: unknown ``kind``, or a ratio that is not positive and finite or more than the data can give.
        DatasetError: ``data`` is no intact dataset directory.
        OutputError: ``out`` exists and may not be replaced.
    """
    noise_type = _checked_kind(kind)
    if not (np.isfinite(ratio) and ratio > 0):
        raise UserError(
            f"ratio {ratio} is not a positive number",
            hint="0.1 makes a tenth of the training data noise",
        )
    if out.resolve() == data.resolve():
        raise UserError("--out is the dataset itself", where=out, hint="Choose another --out")
    check_output_directory(out, overwrite=overwrite, is_replaceable=is_dataset)
    dataset = Dataset.open(data)
    train = dataset.interactions(Split.TRAIN)
    held_out = pl.concat(
        [dataset.interactions(split).select(USER, ITEM) for split in (Split.VALID, Split.TEST)]
    )
    try:
        noise = inject(
            noise_type,
            ratio,
            train[USER].to_numpy().astype(np.int64),
            train[ITEM].to_numpy().astype(np.int64),
            dataset.shape[1],
            (
                held_out[USER].to_numpy().astype(np.int64),
                held_out[ITEM].to_numpy().astype(np.int64),
            ),
            np.random.default_rng(seed),
        )
    except TooMuchNoise as error:
        raise UserError(
            f"--ratio {ratio:g} is too much: {error}", where=data, hint="Lower --ratio"
        ) from None
    report = {
        "type": noise_type,
        "ratio": ratio,
        "seed": seed,
        "train_before": len(train),
        "added": len(noise.added_items),
        "removed": len(noise.removed),
        "train_after": len(train) + len(noise.added_items) - len(noise.removed),
    }
    with atomic_directory(out, overwrite=overwrite, is_replaceable=is_dataset) as temporary:
        for name in dataset.schema.files:
            if name != f"{Split.TRAIN}.parquet":
                (temporary / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(dataset.path(name), temporary / name)
        table = apply(train, noise)
        table.write_parquet(temporary / f"{Split.TRAIN}.parquet")
        write_json(
            temporary / SCHEMA_FILE,
            _schema(dataset, table, report, out.name, temporary).model_dump(),
        )
    return report


def apply(train: pl.DataFrame, noise: Noise) -> pl.DataFrame:
    """Take the removed interactions out of a training table and put the added ones in, sorted.

    Added interactions have no rating and no timestamp.
    """
    keep = np.ones(len(train), dtype=bool)
    keep[noise.removed] = False
    added = pl.DataFrame({USER: noise.added_users, ITEM: noise.added_items}).cast(
        {USER: pl.UInt32, ITEM: pl.UInt32}
    )
    return pl.concat([train.filter(pl.Series(keep)), added], how="diagonal").sort(USER, ITEM)


def _checked_kind(kind: str) -> NoiseType:
    for known in get_args(NoiseType):
        if kind == known:
            return known
    raise UserError(f"unknown noise type '{kind}'", hint=nearest(kind, get_args(NoiseType)))


def _schema(
    dataset: Dataset, train: pl.DataFrame, report: dict[str, Any], name: str, directory: Path
) -> Schema:
    earlier = dataset.schema.provenance.get("noise", [])
    if not isinstance(earlier, list):
        raise DatasetError("has a damaged provenance", where=dataset.directory / SCHEMA_FILE)
    step = {"ld4mrec": __version__, "from": dataset.name, "from_hash": dataset.hash, **report}
    return dataset.schema.model_copy(
        update={
            "name": name,
            "splits": {**dataset.schema.splits, Split.TRAIN: count_split(train)},
            "provenance": {**dataset.schema.provenance, "noise": [*earlier, step]},
            "files": hash_files(directory),
        }
    )
