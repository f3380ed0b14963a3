"""Raw ids as text: one rule for tables, JSON and arrays.

Text ids stay as they are, apart from white space around them: ``7``, ``7.0`` and ``007`` differ.
A number is the text of the whole number: 7 and 7.0 are ``7``. NaN is a missing id.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl

from ld4mrec_cli.utils.errors import SourceError

EXACT_BITS = {pl.Float64: 53, pl.Float32: 24, pl.Float16: 11}
"""Bits of the mantissa of a float type: from 2 to this power on, whole numbers are rounded."""


def id_texts(ids: pl.Series, path: Path, owner: str = "", bits: int | None = None) -> pl.Series:
    """Turn a column of ids ``(n,)`` into text; a missing or empty id is null.

    Args:
        owner: how messages name the column; by default ``column 'NAME'``.
        bits: bits of the mantissa where the ids come from a narrower float type.

    Raises:
        SourceError: floats so large that two ids may have become one.
    """
    name = owner or f"column '{ids.name}'"
    if ids.dtype.is_float():
        texts = _float_texts(ids, path, name, bits or _exact_bits(ids.dtype))
    elif ids.dtype.is_decimal():
        texts = ids.cast(pl.String).str.replace(r"\.0*$", "")
    else:
        texts = ids.cast(pl.String).str.strip_chars()
    return texts.to_frame("id").select(pl.when(pl.col("id").str.len_bytes() > 0).then("id"))["id"]


def _exact_bits(dtype: pl.DataType) -> int:
    return next(bits for kind, bits in EXACT_BITS.items() if dtype == kind)


def _float_texts(ids: pl.Series, path: Path, name: str, bits: int) -> pl.Series:
    finite = ids.is_finite().fill_null(False)
    if bool((ids.filter(finite).cast(pl.Float64).abs() >= 2**bits).any()):
        raise SourceError(
            f"{name} holds ids as {ids.dtype} of 2^{bits} or more, so ids may have been merged",
            where=path,
            hint="Save the ids as whole numbers or text",
        )
    return (
        ids.to_frame("id")
        .select(
            pl.when(finite & (pl.col("id") == pl.col("id").floor()))
            .then(pl.col("id").cast(pl.Int64, strict=False).cast(pl.String))
            .when(finite)
            .then(pl.col("id").cast(pl.String))
        )
        .to_series()
    )


def id_text(value: Any) -> str:
    """Turn one id of JSON into text; empty where there is none.

    Raises:
        ValueError: a float so large that two ids may have become one.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    if isinstance(value, int):
        return str(value)
    if abs(value) >= 2 ** EXACT_BITS[pl.Float64]:
        raise ValueError(f"id {value} is a float of 2^53 or more, so ids may have been merged")
    return str(int(value)) if value.is_integer() else str(value)
