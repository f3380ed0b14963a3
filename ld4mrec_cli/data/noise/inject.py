"""Noise injection into a dataset directory. All files but the training table stay unchanged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ld4mrec_cli import __version__
from ld4mrec_cli.data.columns import ITEM, TIMESTAMP, USER, WEIGHT
from ld4mrec_cli.data.dataset import (
    SCHEMA_FILE,
    Dataset,
    Schema,
    count_split,
    hash_files,
    is_replaceable,
)
from ld4mrec_cli.data.noise.neighbors import read_content
from ld4mrec_cli.data.noise.noise_types import NOISE_TYPES, Noise
from ld4mrec_cli.data.noise.sampler import NoiseSampler, TooMuchNoise
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.utils.errors import DatasetError, UserError, nearest
from ld4mrec_cli.utils.files import atomic_directory, check_output_directory, write_json

TRAIN_FILE = f"{Split.TRAIN}.parquet"


def inject_noise(
    data: Path, out: Path, noise_type: str, ratio: float, seed: int, *, overwrite: bool = False
) -> dict[str, Any]:
    """Copy the dataset ``data`` to ``out`` with noise in its training split.

    Returns:
        A report: type, ratio, seed, and the numbers of interactions before, added, removed, after.

    Raises:
        UserError: unknown ``noise_type``, or the features that it needs are missing, or ``ratio``
            is not positive, not finite or too large.
        DatasetError: ``data`` is not an intact dataset directory.
        OutputError: ``out`` exists and may not be replaced.
    """
    _check_options(data, out, noise_type, ratio)
    check_output_directory(out, overwrite=overwrite, is_replaceable=is_replaceable)
    dataset = Dataset.open(data)
    if NOISE_TYPES[noise_type].needs_features and not dataset.modality_names():
        hint = "Choose another --type, or prepare the dataset with texts, images or features"
        raise UserError(f"has no item features, which '{noise_type}' needs", where=data, hint=hint)
    train, rng = dataset.interactions(Split.TRAIN), np.random.default_rng(seed)
    try:
        noise = sample_noise(noise_type, ratio, _make_sampler(dataset, train, rng))
    except TooMuchNoise as error:
        raise UserError(
            f"--ratio {ratio:g} is too much: {error}", where=data, hint="Lower --ratio"
        ) from None
    noisy = apply_noise(train, noise, rng)
    report = {
        "type": noise_type,
        "ratio": ratio,
        "seed": seed,
        "train_before": len(train),
        "added": len(noise.added_items),
        "removed": len(noise.removed),
        "train_after": len(noisy),
    }
    with atomic_directory(out, overwrite=overwrite, is_replaceable=is_replaceable) as temporary:
        for name in dataset.schema.files:
            if name != TRAIN_FILE:
                (temporary / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(dataset.path(name), temporary / name)
        noisy.write_parquet(temporary / TRAIN_FILE)
        schema = _make_schema(dataset, noisy, report, temporary.name, temporary)
        write_json(temporary / SCHEMA_FILE, schema.model_dump())
    return report


def sample_noise(noise_type: str, ratio: float, sampler: NoiseSampler) -> Noise:
    """Sample noise for ``round(ratio * n)`` of the ``n`` training interactions.

    Raises:
        TooMuchNoise: so many interactions cannot be removed, or added to these users.
    """
    if ratio > sampler.n_items:  # no user has so many items; also bounds the memory
        raise TooMuchNoise(f"there are {sampler.n_items} items")
    return NOISE_TYPES[noise_type].sample(sampler, round(ratio * len(sampler.users)))


def apply_noise(train: pl.DataFrame, noise: Noise, rng: np.random.Generator) -> pl.DataFrame:
    """Return the training table with noise, sorted by user and item.

    Added interactions have no rating. Where interactions have weights, theirs is the median, and
    where they have times, theirs is that of a random interaction of the same user: noise is not
    told from the others by them.
    """
    is_kept = np.ones(len(train), dtype=bool)
    is_kept[noise.removed] = False
    added = pl.DataFrame({USER: noise.added_users, ITEM: noise.added_items}).cast(
        {USER: pl.UInt32, ITEM: pl.UInt32}
    )
    if WEIGHT in train.columns:
        added = added.with_columns(pl.lit(train[WEIGHT].median(), pl.Float64).alias(WEIGHT))
    if TIMESTAMP in train.columns:
        added = added.with_columns(_draw_times(train, noise.added_users, rng))
    return pl.concat([train.filter(pl.Series(is_kept)), added], how="diagonal").sort(USER, ITEM)


def _draw_times(train: pl.DataFrame, users: np.ndarray, rng: np.random.Generator) -> pl.Series:
    """The time of a random training interaction of each of ``users`` ``(n,)``; null without one."""
    ordered = train.sort(USER)
    owners = ordered[USER].to_numpy()
    first, after = (np.searchsorted(owners, users, side=side) for side in ("left", "right"))
    places = first + (rng.random(len(users)) * (after - first)).astype(np.int64)
    has_any = pl.Series(after > first)
    times = ordered[TIMESTAMP].gather(places.clip(max=len(owners) - 1))
    return pl.select(pl.when(has_any).then(times).alias(TIMESTAMP)).to_series()


def _check_options(data: Path, out: Path, noise_type: str, ratio: float) -> None:
    if noise_type not in NOISE_TYPES:
        raise UserError(f"unknown noise type '{noise_type}'", hint=nearest(noise_type, NOISE_TYPES))
    if not (np.isfinite(ratio) and ratio > 0):
        raise UserError(
            f"ratio {ratio} is not a positive number",
            hint="0.1 stands for a tenth of the training interactions",
        )
    if out.resolve() == data.resolve():
        raise UserError("--out is the dataset itself", where=out, hint="Choose another --out")


def _make_sampler(dataset: Dataset, train: pl.DataFrame, rng: np.random.Generator) -> NoiseSampler:
    held_out = pl.concat(
        [dataset.interactions(split).select(USER, ITEM) for split in (Split.VALID, Split.TEST)]
    )
    return NoiseSampler(
        *_to_indices(train),
        dataset.shape[1],
        _to_indices(held_out),
        rng,
        read_content=lambda: read_content(dataset),
    )


def _to_indices(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return users and items of a table as int64, so that keys of pairs do not overflow."""
    return table[USER].to_numpy().astype(np.int64), table[ITEM].to_numpy().astype(np.int64)


def _make_schema(
    dataset: Dataset, train: pl.DataFrame, report: dict[str, Any], name: str, directory: Path
) -> Schema:
    """Return the schema of the noisy dataset; the provenance gets one more step."""
    steps = dataset.schema.provenance.get("noise", [])
    if not isinstance(steps, list):
        raise DatasetError("has a damaged provenance", where=dataset.directory / SCHEMA_FILE)
    step = {"ld4mrec": __version__, "from": dataset.name, "from_hash": dataset.hash, **report}
    return dataset.schema.model_copy(
        update={
            "name": name,
            "splits": {**dataset.schema.splits, Split.TRAIN: count_split(train)},
            "provenance": {**dataset.schema.provenance, "noise": [*steps, step]},
            "files": hash_files(directory),
        }
    )
