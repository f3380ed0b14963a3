"""Convert DiffMM's files to plain tables that `ld4mrec prepare` reads.

    python examples/convert_diffmm.py DiffMM/Datasets/tiktok tiktok_raw
    ld4mrec prepare --raw tiktok_raw

Reads ``trnMat.pkl``, ``valMat.pkl``, ``tstMat.pkl`` (pickled scipy matrices, users × items) and
``MODALITY_feat.npy``; writes ``interactions.csv`` with a
``split`` column, ``items.csv`` and the features.

A pickle can run code while it is opened. This script allows numpy's arrays and the scipy matrices
alone, replaces the matrices by plain holders of arrays, and refuses all else. Use it on files
that you trust all the same.
"""

from __future__ import annotations

import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SPLITS = {"trnMat.pkl": "train", "valMat.pkl": "valid", "tstMat.pkl": "test"}


class Refused(Exception):
    """A file that is missing, unsafe or not what it should be."""


class Coo:
    """Holds what the pickle of a coo matrix says."""


class Csr:
    """Holds what the pickle of a csr matrix says."""


class Csc:
    """Holds what the pickle of a csc matrix says."""


MATRICES = {
    f"{kind.__name__.lower()}_{form}": kind
    for kind in (Coo, Csr, Csc)
    for form in ("matrix", "array")
}


def bytes_of(text: str, encoding: str = "latin1") -> bytes:
    """How pickles of protocol 2 spell bytes."""
    if encoding != "latin1":
        raise Refused(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): bytes_of,
}
for core in ("numpy.core", "numpy._core"):  # the name changed in numpy 2
    ALLOWED[core + ".multiarray", "_reconstruct"] = np.zeros(1).__reduce__()[0]  # type: ignore[assignment]
    ALLOWED[core + ".multiarray", "scalar"] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]
    ALLOWED[core + ".numeric", "_frombuffer"] = np.zeros(1).__reduce_ex__(5)[0]  # type: ignore[assignment]


Matrix = tuple[np.ndarray, np.ndarray, tuple[int, int]]
"""Users and items of the interactions, and the shape."""


class MatrixUnpickler(pickle.Unpickler):
    """Builds arrays and holders of matrices, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("scipy.sparse") and name in MATRICES:
            return MATRICES[name]
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        raise Refused(f"asks for {module}.{name}, which no matrix needs")


def read_matrix(path: Path) -> Matrix:
    """Users and items of the entries that are not zero, and the shape."""
    try:
        with path.open("rb") as handle:
            matrix = MatrixUnpickler(handle).load()
        if type(matrix) not in (Coo, Csr, Csc):
            raise Refused("is no coo, csr or csc matrix")
        state = vars(matrix)
        rows, columns = entries(matrix, state)
        n_users, n_items = (int(size) for size in state["_shape"])
        values = np.asarray(state["data"])
        if not len(rows) == len(columns) == len(values):
            raise Refused("has arrays of different lengths")
        if len(rows) and not (
            rows.min() >= 0
            and rows.max() < n_users
            and columns.min() >= 0
            and columns.max() < n_items
        ):
            raise Refused("has entries outside its shape")
        kept = values != 0
        return rows[kept], columns[kept], (n_users, n_items)
    except Refused as error:
        raise Refused(f"{path}: {error}") from None
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise Refused(f"{path}: is no pickled matrix ({type(error).__name__}: {error})") from None


def entries(matrix: Any, state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each entry."""
    if type(matrix) is Coo:  # the name of the two arrays changed in scipy 1.13
        rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
        return np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)
    along = np.asarray(state["indices"], dtype=np.int64)
    starts = np.asarray(state["indptr"], dtype=np.int64)
    lengths = np.diff(starts)
    if starts[0] != 0 or starts[-1] != len(along) or (lengths < 0).any():
        raise Refused("has row starts that do not fit")
    across = np.repeat(np.arange(len(lengths)), lengths)
    return (across, along) if type(matrix) is Csr else (along, across)


def check_features(path: Path, n_items: int) -> int:
    """Refuse a feature file whose rows do not fit the items."""
    try:
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    except Exception as error:
        raise Refused(f"{path}: is no array of numbers ({error})") from None
    if len(shape) != 2 or shape[0] < n_items:
        raise Refused(f"{path}: has shape {shape}, but there are {n_items} items")
    return int(shape[0])


def convert(raw: Path, out: Path) -> str:
    """Convert the files of ``raw`` into the new directory ``out``; returns what was done."""
    matrices = {split: read_matrix(raw / name) for name, split in SPLITS.items()}
    n_users, n_items = (max(shape[axis] for _, _, shape in matrices.values()) for axis in (0, 1))
    features = sorted(raw.glob("*_feat.npy"))
    n_items = max([n_items, *(check_features(path, n_items) for path in features)])
    for path in features:
        check_features(path, n_items)  # the rows follow the items, so all need as many
    if out.exists():
        raise Refused(f"{out}: exists already")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        write(Path(temporary) / "out", matrices, n_items, features)
        (Path(temporary) / "out").rename(out)
    counts = ", ".join(f"{len(users)} {split}" for split, (users, _, _) in matrices.items())
    names = ", ".join(path.name for path in features) or "no features"
    return f"{n_users} users, {n_items} items, interactions: {counts}; {names}; written to {out}"


def write(out: Path, matrices: dict[str, Matrix], n_items: int, features: list[Path]) -> None:
    """Fill the new directory ``out``."""
    out.mkdir()
    with (out / "interactions.csv").open("w", encoding="utf-8", newline="\n") as table:
        table.write("user,item,split\n")
        for split, (users, items, _) in matrices.items():
            table.writelines(
                f"{user},{item},{split}\n" for user, item in zip(users, items, strict=True)
            )
    (out / "items.csv").write_text(
        "item\n" + "".join(f"{item}\n" for item in range(n_items)), encoding="utf-8"
    )
    for path in features:
        shutil.copyfile(path, out / path.name)


def main() -> int:
    if len(sys.argv) != 3:
        sys.stderr.write("usage: python convert_diffmm.py RAW OUT\n")
        return 2
    try:
        print(convert(Path(sys.argv[1]), Path(sys.argv[2])))
    except (Refused, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
