from __future__ import annotations

import gzip
import io
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_files import as_bytes, fill

from ld4mrec_cli.data.features import align
from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import UserError


def written(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


CSV = b'user,item,rating,timestamp,split\n"a",x,5,1,train\nb,"y",4,2023-01-02,test\n'
INTER = b"userID\titemID\trating\n0\t1\t2.5\n1\t0\t3\n"
ITEMS = b'item,title,brand\nx,"A, hat",Acme\ny,Glove,\n'
REVIEWS = as_bytes(
    [
        {
            "reviewerID": "a",
            "asin": "x",
            "overall": 5.0,
            "unixReviewTime": 1,
            "more": {"n": [1, None]},
        }
    ]
    * 2
)
NPY = written(lambda buffer: np.save(buffer, np.arange(6, dtype=np.float16).reshape(3, 2)))
NPZ = written(lambda buffer: np.savez(buffer, ids=["0", "1"], features=np.ones((2, 3))))
ATOMIC = b"user_id:token\titem_id:token\trating:float\n0\t1\t2.5\n1\t0\t3\n"
ITEM = b"item_id:token\ttitle:token_seq\tvec:float_seq\n0\tA hat\t1 2\n1\tGlove\t3 4e1\n"
META = b"{'asin': 'x', 'title': 'A \\xe9 hat', 'categories': [['a', 'b']], 'price': 1.5}\n{\"asin\": \"y\"}\n"  # noqa: E501
RATINGS = b"A1234567890,B000000001,5.0,1400000000\nA1234567891,B000000001,4.0,1400000001\n"
VECTORS = b"".join(
    asin.ljust(10).encode() + np.full(4096, 0.5, "<f4").tobytes() for asin in ("x", "y")
)
TABLE = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "rating": [1.0, 2.0]})
KEYED = pl.DataFrame({"item": ["0", "1"], "v": [[1.0, 2.0], [3.0, 4.0]]})

SOURCES: dict[str, dict[str, bytes]] = {
    "interactions.csv": {},
    "items.csv": {"interactions.csv": CSV},
    "x.inter": {"image_feat.npy": NPY},
    "image_feat.npy": {"x.inter": INTER},
    "image_feat.parquet": {"x.inter": INTER},
    "image_feat.npz": {"x.inter": INTER},
    "y.inter": {"y.item": ITEM},
    "y.item": {"y.inter": ATOMIC},
    "interactions.parquet": {},
    "reviews.json": {},
    "reviews.json.gz": {},
    "meta_x.json": {"reviews_x.json": REVIEWS},
    "image_features_x.b": {"reviews_x.json": REVIEWS},
    "ratings_x.csv": {},
}
VALID = {
    "interactions.csv": CSV,
    "items.csv": ITEMS,
    "x.inter": INTER,
    "image_feat.npy": NPY,
    "image_feat.parquet": written(KEYED.write_parquet),
    "image_feat.npz": NPZ,
    "y.inter": ATOMIC,
    "y.item": ITEM,
    "interactions.parquet": written(TABLE.write_parquet),
    "reviews.json": REVIEWS,
    "reviews.json.gz": gzip.compress(REVIEWS, mtime=0),
    "meta_x.json": META,
    "image_features_x.b": VECTORS,
    "ratings_x.csv": RATINGS,
}


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """The content with some bytes changed, put in or cut out."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 8)))
        odd = st.sampled_from(
            [b"", b'"', b"\n", b"\r", b"\0", b",", b"\t", b"{", b"-", b"9" * 30, b"nan", b"\xff"]
        )
        content = content[:start] + draw(odd | st.binary(max_size=4)) + content[end:]
    return content


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:ReadContext `.npy`")
@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=100)
@given(data=st.data())
def test_damage_is_a_user_error_or_harmless(name, data):
    content = data.draw(damaged(VALID[name]) | st.binary(max_size=40))
    with tempfile.TemporaryDirectory() as folder:
        raw = fill(Path(folder), SOURCES[name] | {name: content})
        try:
            source = read_source(raw, PrepareConfig())
            assert not source.items["item"].has_nulls()
            aligned = [align(features, ["x", "y"]) for features in source.features.values()]
        except UserError as error:
            message = str(error)
            source = None
    if source is None:
        assert folder in message
    else:
        assert not source.interactions.is_empty()
        assert sum(source.interactions.null_count().row(0)) == 0
        assert all(np.isfinite(modality.values).all() for modality in aligned)


@pytest.mark.parametrize("name", SOURCES)
def test_the_undamaged_files_are_read(name, tmp_path):
    raw = fill(tmp_path, SOURCES[name] | {name: VALID[name]})
    assert len(read_source(raw, PrepareConfig()).interactions) == 2
