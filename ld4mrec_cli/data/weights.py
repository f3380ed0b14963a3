"""Weights of interactions: of a user's events with an item, and of the entries of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
import polars as pl

from ld4mrec_cli.data.columns import ITEM, SPLIT, USER, WEIGHT
from ld4mrec_cli.data.splits import SPLITS, Split

PAIR: Final = "pair"
"""Place of the first event of an event's pair of user and item."""
_PLACE = "place"
_NEVER = np.iinfo(np.int64).max
Combine = Literal["max", "sum"]


def number_events(ordered: pl.DataFrame) -> pl.DataFrame:
    """Add the places of the events, in their order, and of the first event of each pair."""
    placed = ordered.with_row_index(_PLACE).with_columns(pl.col(_PLACE).cast(pl.Int64))
    return placed.with_columns(pl.col(_PLACE).first().over(USER, ITEM).alias(PAIR))


def combine_weights(
    table: pl.DataFrame,
    labels: np.ndarray,
    events: pl.DataFrame,
    how: Combine,
    by_time: Literal["user", "all"] | None,
) -> pl.Series:
    """One weight for each pair, from its events.

    A training pair does not know the future: where a split is by time, its events after the first
    held-out interaction (of its user, or of all) do not count. Where the source gives the splits,
    its events in another split do not.

    Args:
        table: ``user`` (codes) and ``pair`` of each interaction, n rows.
        labels: its split, -1 for none, ``(n,)``.
        events: of :func:`number_events`, with ``weight``, and ``split`` where it is given.
        how: the largest weight of the events, or their sum.
        by_time: whose held-out interactions end the training; None: the split is not by time.

    Returns:
        Weights ``(n,)`` Float64.
    """
    pairs, users = table[PAIR].to_numpy(), table[USER].to_numpy().astype(np.int64)
    order = np.argsort(pairs)
    of_event = events[PAIR].to_numpy()
    at = order[np.searchsorted(pairs[order], of_event).clip(max=len(pairs) - 1)]
    is_counted = pairs[at] == of_event
    is_counted &= events[_PLACE].to_numpy() < _training_ends(pairs, users, labels, by_time)[at]
    if SPLIT in events.columns:
        is_counted &= events[SPLIT].to_numpy() == labels[at]
    at, weights = at[is_counted], events[WEIGHT].to_numpy()[is_counted]
    combined = np.zeros(len(pairs))
    (np.maximum if how == "max" else np.add).at(combined, at, weights)
    return pl.Series(WEIGHT, combined)


def _training_ends(
    pairs: np.ndarray, users: np.ndarray, labels: np.ndarray, by_time: str | None
) -> np.ndarray:
    """Place of the first event that a pair must not know ``(n,)``; held-out pairs know all."""
    is_train = labels == SPLITS.index(Split.TRAIN)
    if by_time is None:
        return np.full(len(pairs), _NEVER)
    whose = users if by_time == "user" else np.zeros_like(users)
    first = np.full(int(whose.max()) + 1, _NEVER)
    np.minimum.at(first, whose[~is_train], pairs[~is_train])
    return np.where(is_train, first[whose], _NEVER)


def describe_weights(
    weights: np.ndarray, events: Mapping[str, int], by_event: Mapping[str, float], how: Combine
) -> list[str]:
    """What `prepare` says of weights: the events with their number, and the combined weights.

    Args:
        weights: of the interactions ``(n,)``.
        events: number of lines by type of event.
        by_event: weight by type of event.
        how: how repeated events were combined.
    """
    counts = sorted(events.items(), key=lambda entry: (-entry[1], entry[0]))
    parts = [f"{event} {count:,} (weight {by_event[event]:g})" for event, count in counts]
    unseen = [
        f"no event is '{event}', which has a weight" for event in by_event if event not in events
    ]
    lines = [*([f"events: {', '.join(parts)}"] if parts else []), *unseen]
    if (weights == 1.0).all():
        return [*lines, "weights: all are 1, as without weights"]
    counted = "the largest" if how == "max" else "the sum"
    return [
        *lines,
        f"weights: {weights.min():g} to {weights.max():g}, mean {weights.mean():.4g}; "
        f"{counted} of a user's events with an item",
    ]
