"""Lists of other tools that stand in a comparison beside the systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.experiments.compare.systems import LABEL, LABEL_HINT
from ld4mrec_cli.runs.newer_data import OnUnknown
from ld4mrec_cli.serving.given_lists import ReadLists, read_lists
from ld4mrec_cli.serving.ids import OnNote
from ld4mrec_cli.utils.errors import UserError

FOLD = "{fold}"
"""Stands for the number of the fold in a file's name."""
LISTS = "lists"
"""Takes the place of the name of a model."""


@dataclass(frozen=True)
class GivenSystem:
    """Lists of one tool; several files are those of several seeds."""

    label: str
    files: list[str]
    """Files, with :data:`FOLD` in the name where there are folds."""

    def file(self, seed: int, fold: int | None) -> Path:
        """The file of a seed and of the fold with this number."""
        name = self.files[seed]
        return Path(name if fold is None else name.replace(FOLD, str(fold)))


def parse_given(flags: Sequence[str]) -> list[GivenSystem]:
    """Parse ``LABEL=FILE``; a label that is repeated has several seeds. Raises UserError."""
    files: dict[str, list[str]] = {}
    for flag in flags:
        label, equals, path = flag.partition("=")
        if not (equals and path and LABEL.fullmatch(label)):
            raise UserError(f"--lists '{flag}' is not of the form LABEL=FILE", hint=LABEL_HINT)
        if path in files.get(label, ()):
            raise UserError(f"--lists names {path} twice for {label}")
        files.setdefault(label, []).append(path)
    return [GivenSystem(label, names) for label, names in files.items()]


def check_given(systems: Sequence[GivenSystem], n_folds: int) -> None:
    """Raise UserError where files do not tell the folds apart, or there are none to tell."""
    for system in systems:
        for name in system.files:
            if n_folds > 1 and FOLD not in name:
                hint = f"Put {FOLD} in its place, as in lists-{FOLD}.csv"
                what = f"--lists {system.label}={name} does not say where the number of the fold is"
                raise UserError(what, hint=hint)


def read_given(
    system: GivenSystem, datasets: Sequence[Dataset], on_unknown: OnUnknown, on_note: OnNote
) -> list[list[ReadLists]]:
    """The lists of each fold, of each seed. Raises UserError, see :func:`read_lists`."""
    numbers = range(1, len(datasets) + 1) if len(datasets) > 1 else [None]
    return [
        [
            read_lists(system.file(seed, number), dataset, on_unknown, on_note)
            for seed in range(len(system.files))
        ]
        for number, dataset in zip(numbers, datasets, strict=True)
    ]
