"""Craft datasets and runs whose checksums fit but whose content is nonsense.

Every crafted directory is refused in one line, or used where the change does no harm: never a
crash, never a wrong index. Example::

    python examples/robustness/craft.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))
from artifacts import MODELS, TINY, Artifacts, make_artifacts
from common import Tally, run_command, scratch, shorten

Craft = Callable[[Path], None]
"""Changes a directory in place; the checksums are set right afterwards."""
VALUES: dict[str, Any] = {
    "null": None, "zero": 0, "negative": -1, "beyond": 60, "huge": 2**62, "float": 0.5,
    "text": "x", "bytes": b"\xff", "bool": True, "list": [1, 2], "escape": "\x1b]8;;x\x07\u202e",
}  # fmt: skip
"""Values that fill a whole column."""
DEEP = json.loads('{"a":' * 200 + "1" + "}" * 200)


def iter_tables(file: str, columns: tuple[str, ...]) -> Iterator[tuple[str, Craft]]:
    """Crafts of a Parquet file."""

    def craft(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Craft:
        def write(directory: Path) -> None:
            frame = pl.read_parquet(directory / file, glob=False)
            change(frame).write_parquet(directory / file)

        return write

    yield f"{file} empty", craft(lambda frame: frame.head(0))
    yield f"{file} no columns", craft(lambda frame: pl.DataFrame())
    yield f"{file} twice", craft(lambda frame: pl.concat([frame, frame]))
    yield f"{file} half", craft(lambda frame: frame.head(len(frame) // 2))
    for column in columns:
        yield f"{file} without {column}", craft(lambda frame, c=column: frame.drop(c))
        for name, value in VALUES.items():
            change = craft(
                lambda frame, c=column, v=value: frame.with_columns(pl.Series(c, [v] * len(frame)))
            )
            yield f"{file} {column} {name}", change


def iter_arrays(file: str) -> Iterator[tuple[str, Craft]]:
    """Crafts of a ``.npy`` file."""

    def craft(change: Callable[[np.ndarray], np.ndarray]) -> Craft:
        def write(directory: Path) -> None:
            np.save(directory / file, change(np.load(directory / file)))

        return write

    def declare(directory: Path) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**6)}
        with (directory / file).open("wb") as handle:
            np.lib.format.write_array_header_1_0(handle, header)

    yield f"{file} declares 4 PB", declare
    for name, change in array_changes().items():
        yield f"{file} {name}", craft(change)


def array_changes() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Changes of an array that no checksum shows."""

    def fill(value: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda array: np.full_like(array, value) if array.dtype.kind == "f" else array[:0]

    return {
        "empty": lambda array: array[:0],
        "one row less": lambda array: array[:-1],
        "one row more": lambda array: np.concatenate([array, array[:1]]),
        "flat": lambda array: array.reshape(-1),
        "scalar": lambda array: np.array(1.0, dtype=np.float32),
        "one axis more": lambda array: array[..., None],
        "transposed": lambda array: np.ascontiguousarray(array.T),
        "NaN": fill(np.nan),
        "infinity": fill(np.inf),
        "largest float": fill(3e38),
        "zero": np.zeros_like,
        "float64": lambda array: array.astype(np.float64),
        "float16": lambda array: array.astype(np.float16),
        "int64": lambda array: array.astype(np.int64),
        "negative int": lambda array: np.full(array.shape, -7, dtype=np.int64),
        "huge int": lambda array: np.full(array.shape, 2**62, dtype=np.int64),
        "huge int32": lambda array: np.full(array.shape, 2**31 - 1, dtype=np.int32),
        "bool": lambda array: array.astype(bool),
    }


def iter_tensors(file: str, names: list[str]) -> Iterator[tuple[str, Craft]]:
    """Crafts of a safetensors file."""

    def craft(change: Callable[[dict[str, np.ndarray]], None]) -> Craft:
        def write(directory: Path) -> None:
            arrays = load_file(directory / file)
            change(arrays)
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, directory / file)

        return write

    yield f"{file} empty", craft(lambda arrays: arrays.clear())
    yield f"{file} more", craft(lambda arrays: arrays.update(more=np.zeros(3)))
    for name in names:
        yield f"{file} without {name}", craft(lambda arrays, n=name: arrays.__delitem__(n))
        for label, change in array_changes().items():
            yield (
                f"{file} {name} {label}",
                craft(
                    lambda arrays, n=name, c=change: arrays.update({n: c(np.atleast_1d(arrays[n]))})
                ),
            )


def iter_json(file: str, keys: tuple[str, ...]) -> Iterator[tuple[str, Craft]]:
    """Crafts of values, named by dotted keys, of a JSON file."""
    values: dict[str, Any] = {
        "null": None, "zero": 0, "negative": -1, "huge": 10**12, "beyond int64": 10**30,
        "one": 1, "float": 1.5, "text": "x", "escape": "\x1b[31m\u202e", "parent": "../../x",
        "empty": [], "mapping": {}, "deep": DEEP, "true": True,
    }  # fmt: skip

    def craft(key: str, value: Any) -> Craft:
        def write(directory: Path) -> None:
            content = json.loads((directory / file).read_text())
            *sections, name = key.split(".")
            target = content
            for section in sections:
                target = target[section]
            if value is ...:
                del target[name]
            else:
                target[name] = value
            (directory / file).write_text(json.dumps(content))

        return write

    for key in keys:
        yield f"{file} without {key}", craft(key, ...)
        for name, value in values.items():
            yield f"{file} {key} {name}", craft(key, value)


def iter_dataset_crafts() -> Iterator[tuple[str, Craft]]:
    """Crafts of a dataset directory."""
    yield from iter_tables("users.parquet", ("user",))
    yield from iter_tables("items.parquet", ("item", "title"))
    for split in ("train", "valid", "test"):
        yield from iter_tables(f"{split}.parquet", ("user", "item", "timestamp"))
    yield from iter_arrays("features/image.npy")
    yield from iter_arrays("features/image.present.npy")
    yield from iter_json(
        "schema.json",
        ("format", "version", "name", "n_users", "n_items", "splits", "splits.train",
         "splits.train.users", "splits.test.interactions", "modalities", "modalities.image",
         "modalities.image.dim", "split_method", "provenance", "files"),
    )  # fmt: skip


def iter_run_crafts(run: Path) -> Iterator[tuple[str, Craft]]:
    """Crafts of a run directory."""
    for file in ("weights.safetensors", "signals.safetensors"):
        if (run / file).exists():
            yield from iter_tensors(file, sorted(load_file(run / file)))
    yield from iter_tables("users.parquet", ("user",))
    yield from iter_tables("items.parquet", ("item", "title"))
    yield from iter_tables("train.parquet", ("user", "item"))
    yield from iter_json(
        "manifest.json",
        ("format", "version", "status", "name", "model", "seed", "config", "config.model_name",
         "config.model.hidden_dim", "config.model.bd_blocks", "config.model.time_dim",
         "config.diffusion.steps", "config.evaluation.batch_size", "config.evaluation.k",
         "dataset", "dataset.path", "dataset.n_users", "dataset.n_items", "dataset.hash",
         "dataset.modalities", "versions", "device", "epochs", "best", "notes", "files"),
    )  # fmt: skip


def fix_checksums(directory: Path) -> None:
    """Make the checksums of a dataset or run those of its files."""
    for file in ("schema.json", "manifest.json"):
        path = directory / file
        if path.exists():
            content = json.loads(path.read_text())
            if isinstance(content.get("files"), dict):
                for name in content["files"]:
                    if (directory / name).is_file():
                        data = (directory / name).read_bytes()
                        content["files"][name] = hashlib.sha256(data).hexdigest()
                path.write_text(json.dumps(content))


def craft_all(where: Path, models: tuple[str, ...] = MODELS, every: int = 1) -> Tally:
    """Try every craft, or each ``every``-th, with the commands that read such a directory."""
    artifacts, tally = make_artifacts(where, models), Tally()
    for number, (name, craft) in enumerate(iter_dataset_crafts()):
        if number % every == 0:
            judge(name, craft, artifacts.data, dataset_commands(artifacts, where), tally)
    for model in models:
        run = artifacts.runs[model]
        for number, (name, craft) in enumerate(iter_run_crafts(run)):
            if number % every == 0:
                judge(f"{model} {name}", craft, run, run_commands(artifacts, model), tally)
    return tally


def dataset_commands(artifacts: Artifacts, where: Path) -> tuple[tuple[object, ...], ...]:
    """Commands that read a dataset and write below ``where / "out"``."""
    data, out = ("--data", artifacts.data), where / "out"
    train = ("train", *data, "--device", "cpu", *TINY)
    return (
        ("inspect", artifacts.data),
        (*train, "--run", out / "ld4mrec"),
        (*train, "--run", out / "ease", "--model", "ease"),
        ("inject-noise", *data, "--out", out / "noise", "--ratio", 0.1),
    )


def run_commands(artifacts: Artifacts, model: str) -> tuple[tuple[object, ...], ...]:
    """Commands that read a run."""
    run = ("--run", artifacts.runs[model], "--device", "cpu", "--format", "json")
    return (("evaluate", *run, "--data", artifacts.data), ("recommend", *run, "--all", "--k", 5))


def judge(
    name: str,
    craft: Craft,
    directory: Path,
    commands: tuple[tuple[object, ...], ...],
    tally: Tally,
) -> None:
    """Apply a craft, run the commands, count the outcomes, and undo the craft."""
    pristine, out = directory.parent / "pristine", directory.parent / "out"
    shutil.copytree(directory, pristine)
    craft(directory)
    fix_checksums(directory)
    for command in commands:
        outcome = run_command(*command)
        tally.add(outcome.kind, f"{name}, {command[0]}: {shorten(outcome.err)}")
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(directory)
    pristine.rename(directory)


def main() -> None:
    """Craft and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="try each N-th craft only")
    options = parser.parse_args()
    with scratch() as where:
        tally = craft_all(where, every=options.every)
    print(f"craft: {tally}", *tally.bugs, sep="\n  ")
    sys.exit(1 if tally.bugs else 0)


if __name__ == "__main__":
    main()
