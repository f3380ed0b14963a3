"""Which interactions are training, validation and test, in one dataset or in several folds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from ld4mrec_cli.data import split_methods
from ld4mrec_cli.data.columns import SPLIT, TIMESTAMP, USER, WEIGHT
from ld4mrec_cli.data.readers.base import RawData
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.splits import LEFT_OUT, SPLITS, Split
from ld4mrec_cli.data.weights import PAIR, combine_weights, describe_weights
from ld4mrec_cli.settings.data import FOLD_SPLITS, PrepareConfig
from ld4mrec_cli.utils.errors import DatasetError, SourceError

BY_TIME: dict[str, Literal["user", "all"]] = {
    "temporal": "user",
    "leave-one-out": "user",
    "global-time": "all",
    "rolling": "all",
}
"""Splits by time: whose held-out interactions end the training."""
ORDER = "order"
"""Rank of an interaction in time; equal times follow the order of the files."""


@dataclass(frozen=True)
class Labeled:
    """The interactions of one dataset."""

    table: pl.DataFrame
    """``user``, ``item`` and others, with ``split``: the place of the split in SPLITS."""
    messages: list[str]
    """What is to be said of the weights."""
    left_out: dict[str, int]
    """Reason → number of interactions that go into no split."""


def choose_method(source: RawData, options: PrepareConfig, raw: Path) -> str:
    """The split method; ``auto`` takes the labels of the source, else a random split.

    Raises:
        SourceError: the source lacks the labels or times that the method needs.
    """
    has = source.interactions.columns
    method = options.split
    if method == "auto":
        return "given" if SPLIT in has else "random"
    if method == "given" and SPLIT not in has:
        raise SourceError("has no split labels", where=raw, hint="Choose another --split")
    if method in ("temporal", "global-time", "rolling") and TIMESTAMP not in has:
        raise SourceError(
            f"has no timestamps for the {method} split", where=raw, hint="Choose another --split"
        )
    return method


def label_splits(
    table: pl.DataFrame, method: str, context: ReadContext, events: pl.DataFrame | None
) -> list[Labeled]:
    """Label each interaction with its split, drop those that go into none, and add the weights.

    Args:
        table: the interactions as indices of users and items, with :data:`ORDER`.
        method: as :func:`choose_method` returns it.
        context: shares, folds, seed and weights.
        events: all events where they have weights, else None.

    Returns:
        A dataset each for the folds; one where the method has none.
    """
    return [
        _label(table, labels, method, context, events)
        for labels in _labels(table, method, context.options)
    ]


def _label(
    table: pl.DataFrame,
    labels: np.ndarray,
    method: str,
    context: ReadContext,
    events: pl.DataFrame | None,
) -> Labeled:
    if events is not None:
        by_time = BY_TIME.get(method) if TIMESTAMP in table.columns else None
        how = context.options.combine_weights
        weights = combine_weights(table, labels, events, how, by_time)
        table = table.drop(PAIR).with_columns(weights)
    left_out: dict[str, int] = {}
    reason = "held-out interactions of users without training data"
    if method == "rolling":
        reason = f"{reason}, or after the test"
    note_left_out(left_out, reason, int((labels == LEFT_OUT).sum()))
    labeled = table.drop(ORDER).with_columns(pl.Series(SPLIT, labels, dtype=pl.Int8))
    kept = labeled.filter(pl.col(SPLIT) != LEFT_OUT)
    return Labeled(*_settle_weights(kept, context), left_out)


def _settle_weights(table: pl.DataFrame, context: ReadContext) -> tuple[pl.DataFrame, list[str]]:
    """The interactions, without weights where all are 1, and what to say of the weights."""
    if WEIGHT not in table.columns:
        return table, []
    weights, options = table[WEIGHT].to_numpy(), context.options
    messages = describe_weights(
        weights, context.events, options.event_weights, options.combine_weights
    )
    return (table.drop(WEIGHT) if (weights == 1.0).all() else table), messages


def split_table(table: pl.DataFrame, method: str, raw: Path) -> dict[str, pl.DataFrame]:
    """Table by split. Raises DatasetError where one is empty that should not be."""
    parts: dict[str, pl.DataFrame] = {
        split: table.filter(pl.col(SPLIT) == label).drop(SPLIT)
        for label, split in enumerate(SPLITS)
    }
    for split, part in parts.items():
        if part.is_empty() and method != "none":
            hint = "Lower --k-core, or choose another --split or other shares"
            raise DatasetError(f"the {split} split is empty", where=raw, hint=hint)
    return parts


def _labels(table: pl.DataFrame, method: str, options: PrepareConfig) -> list[np.ndarray]:
    """Split of each interaction ``(n,)``, of each fold; without folds of the one dataset."""
    if method not in FOLD_SPLITS:
        return [_own_labels(table, method, options)]
    users = table[USER].to_numpy().astype(np.int64)
    if method == "k-fold":
        rng = np.random.default_rng(options.seed)
        return split_methods.k_fold_splits(users, options.n_folds, options.valid_ratio, rng)
    shares = options.valid_ratio, options.test_ratio
    times = table[TIMESTAMP].to_numpy()
    return split_methods.rolling_splits(users, times, options.n_folds, *shares)


def _own_labels(table: pl.DataFrame, method: str, options: PrepareConfig) -> np.ndarray:
    """Split of each interaction, ``(n,)``; within a user, equal times follow the files' order."""
    users = table[USER].to_numpy().astype(np.int64)
    shares = options.valid_ratio, options.test_ratio
    if method == "given":
        return table[SPLIT].to_numpy()
    if method == "none":
        return np.full(len(table), SPLITS.index(Split.TRAIN), dtype=np.int8)
    rng = np.random.default_rng(options.seed)
    if method == "random":
        return split_methods.random_split(users, *shares, rng)
    order = table[ORDER].to_numpy().astype(np.int64)
    if method == "leave-one-out":
        has_times = TIMESTAMP in table.columns
        return split_methods.leave_one_out_split(
            users, order if has_times else rng.permutation(len(users))
        )
    if method == "temporal":
        return split_methods.temporal_split(users, order, *shares)
    return split_methods.global_time_split(users, table[TIMESTAMP].to_numpy(), *shares)


def note_left_out(left_out: dict[str, int], why: str, count: int) -> None:
    """Note why interactions or items are left out, if any are."""
    if count:
        left_out[why] = count
