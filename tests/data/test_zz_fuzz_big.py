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

from ld4mrec_cli.config import PrepareConfig
from ld4mrec_cli.data.sources import read_source
from ld4mrec_cli.errors import UserError


def written(write) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


CSV = b'user,item,rating,timestamp,split\n"a",x,5,1,train\nb,"y",4,2023-01-02,test\n'
INTER = b"userID\titemID\trating\n0\t1\t2.5\n1\t0\t3\n"
ITEMS = b'item,title,brand\nx,"A, hat",Acme\ny,Glove,\n'
REVIEWS = as_bytes(
    [{"reviewerID": "a", "asin": "x", "overall": 5.0, "unixReviewTime": 1, "more": {"n": [1, None]}}] * 2
)
NPY = written(lambda buffer: np.save(buffer, np.arange(6, dtype=np.float16).reshape(3, 2)))
TABLE = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "rating": [1.0, 2.0]})
KEYED = pl.DataFrame({"item": ["0", "1"], "v": [[1.0, 2.0], [3.0, 4.0]]})

SOURCES: dict[str, dict[str, bytes]] = {
    "interactions.csv": {},
    "items.csv": {"interactions.csv": CSV},
    "x.inter": {"image_feat.npy": NPY},
    "image_feat.npy": {"x.inter": INTER},
    "image_feat.parquet": {"x.inter": INTER},
    "interactions.parquet": {},
    "reviews.json": {},
    "reviews.json.gz": {},
}
VALID = {
    "interactions.csv": CSV,
    "items.csv": ITEMS,
    "x.inter": INTER,
    "image_feat.npy": NPY,
    "image_feat.parquet": written(KEYED.write_parquet),
    "interactions.parquet": written(TABLE.write_parquet),
    "reviews.json": REVIEWS,
    "reviews.json.gz": gzip.compress(REVIEWS, mtime=0),
}


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """The content with some bytes changed, put in or cut out."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 8)))
        odd = st.sampled_from([b"", b'"', b"\n", b"\r", b"\0", b",", b"\t", b"{", b"-", b"9" * 30, b"nan", b"\xff"])
        content = content[:start] + draw(odd | st.binary(max_size=4)) + content[end:]
    return content


@pytest.mark.filterwarnings("ignore:Reading `.npy`")
@pytest.mark.parametrize("name", SOURCES)
@settings(derandomize=False, deadline=None, database=None, max_examples=1500)
@given(data=st.data())
def test_damage_is_a_user_error_or_harmless(name, data):
    content = data.draw(damaged(VALID[name]) | st.binary(max_size=40))
    with tempfile.TemporaryDirectory() as folder:
        raw = fill(Path(folder), SOURCES[name] | {name: content})
        try:
            source = read_source(raw, PrepareConfig())
        except UserError as error:
            message = str(error)
            source = None
    if source is None:
        assert folder in message
    else:
        assert not source.interactions.is_empty()
        assert sum(source.interactions.null_count().row(0)) == 0


@pytest.mark.parametrize("name", SOURCES)
def test_the_undamaged_files_are_read(name, tmp_path):
    raw = fill(tmp_path, SOURCES[name] | {name: VALID[name]})
    assert len(read_source(raw, PrepareConfig()).interactions) == 2
