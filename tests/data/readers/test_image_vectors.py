from __future__ import annotations

import struct

import numpy as np
import pytest
from raw_files import assert_rejected

from ld4mrec_cli.data.features import align

REVIEW = {
    "reviewerID": "A1",
    "asin": "B000000001",
    "overall": 5.0,
    "unixReviewTime": 1_500_000_000,
    "verified": True,
}
NAME = "image_features_Gifts.b"


def record(asin: str | bytes, *numbers: float) -> bytes:
    """A published record: 10 bytes of ASIN, 4,096 little-endian floats, the last one repeated."""
    values = [*numbers, *[numbers[-1]] * (4096 - len(numbers))]
    return (asin if isinstance(asin, bytes) else asin.encode()) + struct.pack("<4096f", *values)


def files(*records: bytes, **more):
    return {"Gifts_5.json": [REVIEW], NAME: b"".join(records), **more}


def test_vectors_are_keyed_by_item_in_any_order(read):
    data = read(
        files(record("B000000003", 3), record("B000000001", 0.5, -1.5, 2), record("B000000002", 7))
    )
    assert list(data.features) == ["image"]
    assert data.features["image"].item_ids == ["B000000003", "B000000001", "B000000002"]
    assert [path.name for path in data.files] == ["Gifts_5.json", NAME]
    modality = align(data.features["image"], ["B000000001", "B000000009", "B000000003"])
    assert modality.present.tolist() == [True, False, True]
    assert modality.values.shape == (3, 4096)
    assert modality.values.dtype == np.float32
    assert modality.values[0, :4].tolist() == [0.5, -1.5, 2, 2]
    assert modality.values[1, :3].tolist() == [1.75, 0.75, 2.5]  # the mean
    assert (modality.values[2] == 3).all()


def test_the_same_values_are_there_for_who_reads_all(read):
    data = read(files(record("B000000003", 3), record("B000000001", 4)))
    assert data.features["image"].values.shape == (2, 4096)
    assert data.features["image"].values[:, 0].tolist() == [3, 4]


def test_more_records_than_are_read_at_once(read):
    data = read(files(*(record(f"C{number:09d}", number) for number in range(1100))))
    wanted = ["C000001099", "C000000000", "C000000511", "C000000512"]
    values, present = data.features["image"].aligned(wanted)
    assert present.all()
    assert values[:, 4095].tolist() == [1099, 0, 511, 512]


def test_of_repeated_items_the_first_counts(read):
    data = read(files(record("B000000001", 1), record("B000000001", 2)))
    assert align(data.features["image"], ["B000000001"]).values[0, 0] == 1
    assert data.notes == {"repeated image vectors": 1}


def test_short_ids_are_padded(read):
    data = read(files(record(b"B1\0\0\0\0\0\0\0\0", 1), record(b"B2        ", 2)))
    assert data.features["image"].item_ids == ["B1", "B2"]


@pytest.mark.parametrize("cut", [1, 16384, 16393])
def test_a_truncated_file_is_refused_whatever_is_left_out(rejects, cut):
    whole = files(record("B000000001", 1), record("B000000002", 1)[:-cut])
    for on_error in ("raise", "skip"):
        rejects(
            whole,
            f"{NAME}: record 2 is cut short ({16394 - cut} of 16394 bytes)",
            on_error=on_error,
        )


def test_an_empty_file_is_refused(rejects):
    rejects(files(), f"{NAME}: is empty")


@pytest.mark.parametrize("asin", [b"B00000000\xff", b"\0" * 10, b" " * 10, b"B0000\n0000"])
def test_an_id_that_is_no_text_is_named_by_its_record(read, rejects, asin):
    made = files(record("B000000001", 1), record(asin, 2))
    rejects(made, f"{NAME}: record 2: its id")
    data = read(made, on_error="skip")
    assert data.features["image"].item_ids == ["B000000001", ""]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_vector_that_is_not_finite_is_named_by_its_record(read, bad):
    made = files(record("B000000001", 1), record("B000000002", 1, bad, 1))
    data = read(made)
    wanted = ["B000000001", "B000000002"]
    message = f"{NAME}: record 2 (B000000002) holds NaN or infinity"
    assert_rejected(lambda: align(data.features["image"], wanted), message)
    assert align(data.features["image"], wanted[:1]).present.all()
    data = read(made, on_error="skip")
    assert align(data.features["image"], wanted).present.tolist() == [True, False]


def test_a_second_image_modality_is_refused(rejects):
    rejects(
        files(record("B000000001", 1), **{"image_features_More.b": record("B000000002", 1)}),
        "second file",
    )
