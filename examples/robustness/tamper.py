"""Tamper with files of datasets and runs: refused in one line, or the very same result.

A file of a dataset or run is damaged, cut, emptied, removed, or exchanged for another one; then
`evaluate` and `recommend` run. Example::

    python examples/robustness/tamper.py --inputs 500 --seed 0
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from artifacts import MODELS, Artifacts, make_artifacts
from common import Tally, run_command, scratch, shorten
from mutate import flip, mutate, truncate


def tamper_with(path: Path, directory: Path, rng: random.Random) -> str:
    """Change a file of a directory, and return the way that it was done."""
    way = rng.choice(("flip", "flip", "flip", "truncate", "mutate", "mutate", "swap", "remove"))
    content = path.read_bytes()
    if way == "flip":
        path.write_bytes(flip(content, rng))
    elif way == "truncate":
        path.write_bytes(truncate(content, rng))
    elif way == "mutate":
        path.write_bytes(mutate(content, rng))
    elif way == "remove":
        path.unlink()
    else:
        other = rng.choice(list_files(directory))
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    return way


def list_files(directory: Path) -> list[Path]:
    """All files below a directory, in order of name."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def commands(artifacts: Artifacts, model: str) -> tuple[tuple[object, ...], ...]:
    """Commands that read a run and its dataset."""
    run = ("--run", artifacts.runs[model], "--device", "cpu", "--format", "json")
    return (("evaluate", *run, "--data", artifacts.data), ("recommend", *run, "--all", "--k", 5))


def tamper(inputs: int, seed: int, where: Path, models: tuple[str, ...] = MODELS) -> Tally:
    """Tamper ``inputs`` times and judge both commands each time."""
    artifacts, rng, tally = make_artifacts(where, models), random.Random(seed), Tally()
    results = {
        (model, number): run_command(*command).out
        for model in models
        for number, command in enumerate(commands(artifacts, model))
    }
    for number in range(inputs):
        model = rng.choice(models)
        directory = rng.choice((artifacts.data, artifacts.runs[model]))
        pristine = where / "pristine"
        shutil.copytree(directory, pristine)
        path = rng.choice(list_files(directory))
        name = path.relative_to(directory)
        way = tamper_with(path, directory, rng)
        for index, command in enumerate(commands(artifacts, model)):
            outcome = run_command(*command)
            kind = outcome.kind
            if kind == "ok":
                kind = "same" if outcome.out == results[model, index] else "silent"
            description = f"input {number}, {command[0]} {model}, {way} {name}"
            tally.add(kind, f"{description}: {shorten(outcome.err)}")
        shutil.rmtree(directory)
        pristine.rename(directory)
    return tally


def main() -> None:
    """Tamper and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=500, help="files to tamper with")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with scratch() as where:
        tally = tamper(options.inputs, options.seed, where)
    print(f"tamper: {tally}", *tally.bugs, sep="\n  ")
    sys.exit(1 if tally.bugs else 0)


if __name__ == "__main__":
    main()
