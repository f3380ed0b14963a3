"""The search directory: what was searched, every trial, and the best configuration.

::

    search.json      base configuration, space, dataset hash, seed, metric, budget
    trials.jsonl     one line per finished trial
    trials/NNN/      the run directory of each; weights are kept of the best alone
    best.yaml        the best configuration, complete; `train --config` takes it
    search.png       values over trials, and against each setting
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from ld4mrec_cli.config import Config, config_from_mapping, config_to_yaml
from ld4mrec_cli.experiments.directories import LOCK, is_empty
from ld4mrec_cli.experiments.tune.pruning import Curve
from ld4mrec_cli.experiments.tune.records import SearchInfo, Trial, changed_values
from ld4mrec_cli.experiments.tune.space import Space, with_values
from ld4mrec_cli.experiments.tune.space_io import space_from_mapping
from ld4mrec_cli.runs.run_directory import CONFIG, MANIFEST, METRICS, RunDirectory
from ld4mrec_cli.utils.errors import ConfigError, OutputError, RunError
from ld4mrec_cli.utils.files import locked_file, remove_temporaries, write_json, write_text

SEARCH, TRIALS, RUNS, BEST, PLOT = (
    "search.json",
    "trials.jsonl",
    "trials",
    "best.yaml",
    "search.png",
)
KEPT = {MANIFEST, CONFIG, METRICS}
"""Files that stay of a trial that is not the best."""


class SearchDirectory:
    """A search directory, opened or newly made."""

    def __init__(self, path: Path, info: SearchInfo) -> None:
        self.path = path
        self.info = info
        self.trials: list[Trial] = []
        """Finished trials, in order; filled by :meth:`read_trials`."""

    @classmethod
    def create(cls, path: Path, info: SearchInfo) -> SearchDirectory:
        """Make the directory. Raises OutputError where it exists and is not empty, or cannot be written."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not is_empty(path, SEARCH):
                raise OutputError(
                    "exists and holds no search", where=path, hint="Choose another --out"
                )
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror})", where=path) from None
        search = cls(path, info)
        search.save_info()
        return search

    @classmethod
    def open(cls, path: Path) -> SearchDirectory | None:
        """Open a search directory, None where there is none. Raises RunError where it is damaged."""
        file = path / SEARCH
        if not file.is_file():
            return None
        try:
            return cls(path, SearchInfo.model_validate_json(file.read_text(encoding="utf-8")))
        except (ValidationError, OSError, UnicodeDecodeError):
            raise RunError(
                "is damaged or of another version", where=file, hint="Choose another --out"
            ) from None

    @property
    def base(self) -> Config:
        """The configuration that the space is searched around."""
        try:
            return config_from_mapping(self.info.base)
        except ConfigError as error:
            raise RunError(
                f"holds a configuration that does not fit ({error})", where=self.path / SEARCH
            ) from None

    @property
    def space(self) -> Space:
        """The space that is searched."""
        try:
            return space_from_mapping(self.info.space, self.base)
        except ConfigError as error:
            raise RunError(
                f"holds a search space that does not fit ({error})", where=self.path / SEARCH
            ) from None

    def save_info(self) -> None:
        """Write ``search.json``."""
        write_json(self.path / SEARCH, self.info.model_dump())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the search while it goes on. Raises RunError where another process holds it."""
        with locked_file(self.path / LOCK) as ours:
            if not ours:
                raise RunError("this search is being worked on by another process", where=self.path)
            remove_temporaries(self.path)
            yield

    def run_path(self, number: int) -> Path:
        """Run directory of a trial."""
        return self.path / RUNS / f"{number:03d}"

    def value(self, trial: Trial) -> float | None:
        """What the search maximizes, None where the trial gave no result."""
        return trial.valid.get(self.info.metric)

    def best(self) -> Trial | None:
        """The best trial, the earlier one of equals; None where none gave a result."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> list[Trial]:
        """Trials with a result, the best first."""
        found = [trial for trial in self.trials if self.value(trial) is not None]
        return sorted(found, key=lambda trial: (-trial.valid[self.info.metric], trial.number))

    def curves(self) -> list[Curve]:
        """Validation values of the complete trials, by epoch."""
        return [self._curve(trial) for trial in self.trials if trial.status == "complete"]

    def _curve(self, trial: Trial) -> Curve:
        path = self.run_path(trial.number)
        return (
            RunDirectory.open(path).validation_curve(self.info.metric)
            if (path / MANIFEST).is_file()
            else {}
        )

    def record(self, trial: Trial) -> None:
        """Add a finished trial, bring ``best.yaml`` up to date and drop weights that are not needed."""
        lines = "".join(found.model_dump_json() + "\n" for found in (*self.trials, trial))
        write_text(self.path / TRIALS, lines)
        self.trials.append(trial)
        self.tidy()

    def tidy(self) -> None:
        """Write ``best.yaml`` and drop the weights of trials that are not the best, as far as it is not done."""
        best = self.best()
        if best:
            self.write_best(best)
        for trial in self.trials:
            path = self.run_path(trial.number)
            if trial is not best and path.is_dir():
                for file in path.iterdir():
                    if file.name not in KEPT:
                        file.unlink()

    def write_best(self, best: Trial) -> None:
        """Write the complete configuration of the best trial, with what was found above it."""
        text = config_to_yaml(with_values(self.base, best.values))
        write_text(self.path / BEST, "".join(f"# {line}\n" for line in self._findings(best)) + text)

    def _findings(self, best: Trial) -> list[str]:
        info, first = self.info, self.trials[0]
        name = " ".join(info.dataset["name"].split())
        lines = [
            f"The best of {len(self.trials)} trials of `ld4mrec tune`: {info.model} on {name}, chosen on validation:",
            f"trial {best.number}, {info.metric} {best.valid[info.metric]:.4f} (epoch {best.best_epoch}).",
        ]
        if best is first:
            return [*lines, "These are the values that the search started from."]
        start = self.value(first)
        started = f"{info.metric} {start:.4f}" if start is not None else "without a result"
        changes = changed_values(first.values, best.values)
        return [
            *lines,
            f"Trial 0, which the search started from: {started}. Changed from it:",
            *changes,
        ]

    def discard(self) -> None:
        """Remove a search in which nothing was done."""
        shutil.rmtree(self.path / RUNS, ignore_errors=True)
        for name in (SEARCH, LOCK):
            (self.path / name).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def read_trials(self) -> None:
        """Read ``trials.jsonl``. Raises RunError with the line where it is not what the search wrote."""
        file = self.path / TRIALS
        if not file.is_file():
            return
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise RunError("is damaged", where=file, hint="Choose another --out") from None
        self.trials = [self._read_trial(file, number, line) for number, line in enumerate(lines)]

    def _read_trial(self, file: Path, number: int, line: str) -> Trial:
        try:
            trial = Trial.model_validate_json(line)
        except ValidationError:
            fault: str | None = "is no trial"
        else:
            fault = self._trial_fault(trial, number)
        if fault:
            hint = (
                "The file was changed since it was written: start a new search with another --out"
            )
            raise RunError(fault, where=file, line=number + 1, hint=hint)
        return trial

    def _trial_fault(self, trial: Trial, number: int) -> str | None:
        """What about a trial cannot be; None where all is well."""
        if trial.number != number:
            return f"is trial {trial.number}, trial {number} belongs here"
        if set(trial.values) != set(self.info.space):
            return f"trial {number} has other settings than the search space"
        has_result = trial.status in ("complete", "timed_out", "pruned")
        if trial.seed != self.info.seed or has_result != (self.info.metric in trial.valid):
            return f"trial {number} is not of this search"
        if not (self.run_path(number) / MANIFEST).is_file():
            return None
        manifest = RunDirectory.open(self.run_path(number)).manifest
        ran = {
            key: manifest.config.get(key.split(".")[0], {}).get(key.split(".")[1])
            for key in trial.values
        }
        best = manifest.best.valid if manifest.best and has_result else {}
        if ran != trial.values or best != trial.valid:
            return f"trial {number} is not what its run directory says"
        return None
