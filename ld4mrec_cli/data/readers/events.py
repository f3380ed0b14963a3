"""Types of events and columns of weights become a weight of each interaction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from ld4mrec_cli.data.columns import EVENT, RATING, WEIGHT
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.data.readers.ids import id_texts
from ld4mrec_cli.settings.data import MAX_WEIGHT, MIN_WEIGHT, columns_of
from ld4mrec_cli.utils.errors import SourceError

SHOWN_EVENTS = 10
"""Types of events that a message lists, the most frequent first."""
WEIGHT_KIND = f"a weight: 0, or a number from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}"


def parse_weights(column: pl.Series) -> pl.Series:
    """Weights as Float64; what is none (negative, NaN, infinite, out of range) is null."""
    text = column.str.strip_chars() if column.dtype == pl.String else column
    numbers = text.cast(pl.Float64, strict=False).alias("n").to_frame()
    is_weight = (pl.col("n") == 0.0) | pl.col("n").is_between(MIN_WEIGHT, MAX_WEIGHT)
    return numbers.select(pl.when(is_weight).then(pl.col("n").abs()))["n"]  # -0.0 is 0


def weigh_events(
    table: pl.DataFrame,
    path: Path,
    context: ReadContext,
    find_line: Callable[[int], int | None] = lambda row: None,
) -> pl.DataFrame:
    """Replace the column ``event`` of interactions by ``weight``; null events stay null.

    The events are counted in ``context``. Where it needs no weights and none are given, as for
    `inspect`, the column only goes.

    Args:
        table: interactions; without ``event`` they stay as they are.
        path: their file.
        context: the weights by type of event; gets the counts.
        find_line: line of a row, for the message.

    Raises:
        SourceError: a type of event has no weight.
    """
    if EVENT not in table.columns:
        return table
    counts = dict(table[EVENT].drop_nulls().value_counts().iter_rows())
    for event, count in counts.items():
        context.events[event] = context.events.get(event, 0) + count
    weights = context.options.event_weights
    if not weights and not context.needs_weights:
        return table.drop(EVENT)
    missing = table[EVENT].is_not_null() & ~table[EVENT].is_in(list(weights))
    if missing.any():
        row = int(missing.arg_true()[0])
        raise _no_weight(table[EVENT][row], counts, path, find_line(row))
    weight = table[EVENT].replace_strict(weights, default=None, return_dtype=pl.Float64)
    return table.drop(EVENT).with_columns(weight.alias(WEIGHT))


def _no_weight(event: str, counts: dict[str, int], path: Path, line: int | None) -> SourceError:
    by_count = sorted(counts, key=lambda name: (-counts[name], name))
    shown = ", ".join(f"{name} ({counts[name]:,})" for name in by_count[:SHOWN_EVENTS])
    more = f", … ({len(counts):,} in all)" if len(counts) > SHOWN_EVENTS else ""
    return SourceError(
        f"event '{event}' has no weight; the events are {shown}{more}",
        where=path,
        line=line,
        hint=f"Give it one with --weight '{event}=W', 0 to leave such events out",
    )


def weigh_ratings(table: pl.DataFrame, path: Path, context: ReadContext) -> pl.DataFrame:
    """Weights of a layout with known columns, where the user says that ratings are the weights.

    Or that they are the types of events: then each rating has a weight of its own.

    Raises:
        SourceError: a rating is no weight, or has none.
    """
    columns = columns_of("interactions", context.options.columns)
    if WEIGHT in columns:
        weights = parse_weights(table[RATING])
        if weights.null_count():
            bad = table[RATING].filter(weights.is_null())[0]
            raise SourceError(f"the rating {bad:g} is not {WEIGHT_KIND}", where=path)
        return table.with_columns(weights.alias(WEIGHT))
    if EVENT in columns:
        events = id_texts(table[RATING], path).alias(EVENT)
        return weigh_events(table.with_columns(events), path, context)
    return table
