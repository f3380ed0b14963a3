"""`examples/convert_diffmm.py`: matrices come through, anything else in a pickle does not run."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from ld4mrec_cli.data.prepare import prepare
from ld4mrec_cli.data.readers import read_source
from ld4mrec_cli.settings.data import PrepareConfig
from ld4mrec_cli.utils.errors import SourceError

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "convert_diffmm.py"
NAMES = {"trnMat.pkl": "train", "valMat.pkl": "valid", "tstMat.pkl": "test"}
FEATURES = np.arange(12, dtype=np.float32).reshape(6, 2)


def dense(split: str) -> np.ndarray:
    """Four users and six items: two train items each, then one valid and one test item."""
    matrix = np.zeros((4, 6), dtype=np.float32)
    for user in range(4):
        for step in {"train": (0, 1), "valid": (2,), "test": (3,)}[split]:
            matrix[user, (user + step) % 6] = 1.0
    return matrix


def write_raw(raw: Path, make=sp.coo_matrix, protocol: int = 4) -> Path:
    raw.mkdir()
    for name, split in NAMES.items():
        (raw / name).write_bytes(pickle.dumps(make(dense(split)), protocol))
    np.save(raw / "image_feat.npy", FEATURES)
    return raw


def convert(raw: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, raw, out], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("make", "protocol"),
    [
        (sp.coo_matrix, 4),
        (sp.csr_matrix, 5),
        (sp.csc_matrix, 3),
        (sp.csr_array, 2),
        (sp.coo_array, 5),
    ],
)
def test_matrices_come_through(tmp_path, make, protocol):
    raw, out = write_raw(tmp_path / "raw", make, protocol), tmp_path / "out"
    done = convert(raw, out)
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 users, 6 items, interactions: 8 train, 4 valid, 4 test; image_feat.npy" in done.stdout
    source = read_source(out, PrepareConfig())
    expected = {
        (str(user), str(item), label)
        for label, split in enumerate(NAMES.values())
        for user, item in np.argwhere(dense(split))
    }
    assert set(source.interactions.select("user", "item", "split").rows()) == expected
    assert source.features["image"].item_ids == [str(item) for item in range(6)]
    assert (source.features["image"].values == FEATURES).all()
    assert prepare(out, tmp_path / "data", PrepareConfig()).schema.split_method == "given"


def test_stored_zeros_and_old_names_of_the_arrays(tmp_path):
    raw = write_raw(tmp_path / "raw")
    matrix = sp.coo_matrix(([1.0, 0.0], ([0, 1], [0, 1])), shape=(4, 6))
    del matrix.__dict__["coords"]
    matrix.__dict__.update(
        row=np.array([0, 1], dtype=np.int32), col=np.array([0, 1], dtype=np.int32)
    )
    (raw / "valMat.pkl").write_bytes(
        pickle.dumps(matrix).replace(b"scipy.sparse._coo", b"scipy.sparse.kcoo")
    )
    assert "1 valid" in convert(raw, tmp_path / "out").stdout


class Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"echo caught > {self.mark}",)


class HiddenTrap(sp.csr_matrix):
    """Pickled as a matrix, with a trap among its values."""

    def __reduce__(self):
        return sp.csr_matrix, ((1, 1),), {"_shape": self.trap}


@pytest.mark.parametrize("hidden", [False, True])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path, hidden):
    raw, mark = write_raw(tmp_path / "raw"), tmp_path / "mark"
    trap: object = Trap(mark)
    if hidden:
        matrix = HiddenTrap((1, 1))
        matrix.trap, trap = trap, matrix
    (raw / "tstMat.pkl").write_bytes(pickle.dumps(trap))
    done = convert(raw, tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "tstMat.pkl: " in done.stderr
    assert not mark.exists()
    assert not (tmp_path / "out").exists()
    pickle.loads((raw / "tstMat.pkl").read_bytes())
    assert mark.exists(), "the trap is one"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("valMat.pkl", b"hello", "is no pickled matrix"),
        ("valMat.pkl", b"", "is no pickled matrix"),
        ("valMat.pkl", pickle.dumps([1, 2]), "is no coo, csr or csc matrix"),
        ("valMat.pkl", pickle.dumps(np.zeros((2, 2))), "is no coo, csr or csc matrix"),
        ("image_feat.npy", b"hello", "is no array of numbers"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, what):
    raw = write_raw(tmp_path / "raw")
    (raw / name).write_bytes(content)
    done = convert(raw, tmp_path / "out")
    assert done.returncode == 2
    assert f"{name}: {what}" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["missing", "few rows", "outside", "lengths"])
def test_files_that_do_not_fit_are_refused(tmp_path, what):
    raw = write_raw(tmp_path / "raw")
    matrix = sp.csr_matrix(dense("test"))
    if what == "missing":
        (raw / "tstMat.pkl").unlink()
    elif what == "few rows":
        np.save(raw / "image_feat.npy", FEATURES[:5])
    elif what == "outside":
        matrix.indices[0] = 900
    else:
        matrix.indptr = matrix.indptr + 1
    if what in ("outside", "lengths"):
        (raw / "tstMat.pkl").write_bytes(pickle.dumps(matrix))
    done = convert(raw, tmp_path / "out")
    assert done.returncode == 2
    message = {
        "missing": "cannot be read",
        "few rows": "6 items",
        "outside": "outside",
        "lengths": "do not fit",
    }[what]
    assert message in done.stderr


@pytest.mark.parametrize("format", ["auto", "table"])
def test_prepare_refuses_the_pickles_and_names_the_script(tmp_path, format):
    raw = write_raw(tmp_path / "raw")
    with pytest.raises(SourceError, match=r"trnMat\.pkl: is a pickled matrix.*convert_diffmm\.py"):
        read_source(raw, PrepareConfig(format=format))
    (raw / "interactions.csv").write_text("user,item\na,x\n")
    (raw / "image_feat.npy").unlink()
    assert read_source(raw, PrepareConfig()).format == "table"
