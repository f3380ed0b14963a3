"""Image vectors as published with Amazon reviews: ``image_features_X.b``.

A record is an ASIN and 4,096 floats. The file may be larger than the memory: its ids are read at
once, its vectors only for the items that remain after filtering.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ld4mrec_cli.data.readers.base import RawFeatures
from ld4mrec_cli.data.readers.context import ReadContext
from ld4mrec_cli.utils.errors import SourceError

DIM = 4096
RECORD = np.dtype([("item", "S10"), ("vector", "<f4", (DIM,))])
BLOCK = 512
"""Records that are read at once (8 MB)."""
FIX_HINT = "Fetch the file again, or leave such records out with --on-error skip"


@dataclass(frozen=True)
class ImageVectors(RawFeatures):
    """Vectors that are read and checked when they are aligned to items.

    The id of a skipped record is empty.
    """

    context: ReadContext

    def aligned(self, item_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Read the vectors of some items in one pass; see :meth:`RawFeatures.aligned`.

        Raises:
            SourceError: unless malformed records are skipped, a vector holds NaN or infinity.
        """
        position = {item: row for row, item in enumerate(item_ids)}
        values = np.zeros((len(item_ids), DIM), dtype=np.float32)
        present = np.zeros(len(item_ids), dtype=bool)
        targets = np.fromiter(
            (position.get(item, -1) for item in self.item_ids), np.int64, len(self.item_ids)
        )
        for records, vectors in self._finite(targets >= 0):
            values[targets[records]] = vectors
            present[targets[records]] = True
        return values, present

    def own_rows(self, known: Set[str]) -> np.ndarray:
        """See :meth:`RawFeatures.own_rows`; records with NaN or infinity are skipped."""
        own = np.zeros(len(self.item_ids), dtype=bool)
        for records, _ in self._finite(super().own_rows(known)):
            own[records] = True
        return own

    def _finite(self, selected: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Iterate over the ``selected`` records, some at a time: numbers (from 0) and vectors.

        Records that hold NaN or infinity are reported to ``context`` and skipped.
        """
        for start, block in _blocks(self.path, self.context):
            records = start + np.flatnonzero(selected[start : start + len(block)])
            vectors = block["vector"][records - start]
            finite = np.isfinite(vectors).all(axis=1)
            for record in records[~finite]:
                what = f"record {record + 1} ({self.item_ids[record]}) holds NaN or infinity"
                self.context.report(SourceError(what, where=self.path, hint=FIX_HINT))
            yield records[finite], vectors[finite]


def read_image_vectors(path: Path, context: ReadContext, notes: dict[str, int]) -> ImageVectors:
    """Read the ids of a file of image vectors.

    Of repeated items the first record counts; ``notes`` gets the number of the others.

    Raises:
        SourceError: the file is empty or cut short; or, unless ``context`` skips such records, an
            id is not ASCII text.
    """
    size = path.stat().st_size
    n_records, rest = divmod(size, RECORD.itemsize)
    if rest or not n_records:
        what = (
            f"record {n_records + 1} is cut short ({rest} of {RECORD.itemsize} bytes)"
            if rest
            else "is empty"
        )
        raise SourceError(what, where=path, hint="Fetch the file again")
    ids: list[str] = []
    seen: set[str] = {""}
    repeated = 0
    for number, raw in enumerate(_ids(path, n_records), start=1):
        item = _id(raw, path, number, context)
        repeated += bool(item) and item in seen
        ids.append("" if item in seen else item)
        seen.add(item)
    if repeated:
        notes["repeated image vectors"] = repeated
    vectors = np.memmap(path, dtype=RECORD, mode="r")["vector"]
    return ImageVectors(path, ids, vectors, context)


def _id(raw: bytes, path: Path, number: int, context: ReadContext) -> str:
    """The id of a record as text; empty where it is malformed and skipped."""
    text = raw.rstrip(b"\0 ").decode("ascii", "replace")
    if text.isascii() and text.isprintable() and text:
        return text
    context.report(
        SourceError(f"record {number}: its id {raw!r} is not ASCII text", where=path, hint=FIX_HINT)
    )
    return ""


def _ids(path: Path, count: int) -> Iterator[bytes]:
    """Iterate over the ids alone, without reading what lies between."""
    with path.open("rb", buffering=0) as handle:
        for number in range(count):
            handle.seek(number * RECORD.itemsize)
            yield handle.read(RECORD["item"].itemsize)


def _blocks(path: Path, context: ReadContext) -> Iterator[tuple[int, np.ndarray]]:
    """Iterate over all records, some at a time: number of the first (from 0), and the records.

    The file is read rather than mapped: mapped pages count as memory of this process.
    """
    total = path.stat().st_size
    with path.open("rb", buffering=0) as handle:
        for start in range(0, total // RECORD.itemsize, BLOCK):
            content = handle.read(BLOCK * RECORD.itemsize)
            yield start, np.frombuffer(content, dtype=RECORD, count=len(content) // RECORD.itemsize)
            context.on_read(path, handle.tell(), total)
