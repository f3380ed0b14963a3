"""The search directory: settings of a search, every trial, and the best configuration.

::

    search.json      base configuration, space, dataset hash, seed, metric, budget
    trials.jsonl     one line per finished trial
    trials/NNN/      the run directory of each; only the best keeps its weights
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
from ld4mrec_cli.experiments.tune.records import SearchInfo, Trial, changed_values
from ld4mrec_cli.experiments.tune.space import Space, with_values
from ld4mrec_cli.experiments.tune.space_io import space_from_mapping
from ld4mrec_cli.experiments.tune.suggest import Curve
from ld4mrec_cli.runs.run_directory import CONFIG, MANIFEST, METRICS, RunDirectory
from ld4mrec_cli.utils.errors import ConfigError, OutputError, RunError
from ld4mrec_cli.utils.files import write_json, write_text
from ld4mrec_cli.utils.locks import locked_file
from ld4mrec_cli.utils.workspace import LOCK, is_blank, remove_temporaries

SEARCH, TRIALS, RUNS, BEST, PLOT = (
    "search.json",
    "trials.jsonl",
    "trials",
    "best.yaml",
    "search.png",
)
KEPT_FILES = {MANIFEST, CONFIG, METRICS}
"""Files of a trial that is not the best."""


class SearchDirectory:
    """A search directory, opened or newly made."""

    def __init__(self, path: Path, info: SearchInfo) -> None:
        self.path = path
        self.info = info
        self.trials: list[Trial] = []
        """Finished trials, in order; filled by :meth:`read_trials`."""

    @classmethod
    def create(cls, path: Path, info: SearchInfo) -> SearchDirectory:
        """Create the directory. Raises OutputError if it is not empty or cannot be written."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not is_blank(path):
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
        """Open a search directory; None if there is none. Raises RunError if it is damaged."""
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
        """The configuration that the search starts from."""
        try:
            return config_from_mapping(self.info.base)
        except ConfigError as error:
            raise RunError(
                f"holds a configuration that does not fit ({error})", where=self.path / SEARCH
            ) from None

    @property
    def space(self) -> Space:
        """The search space."""
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
        """Lock the search during the block. Raises RunError if another process has it."""
        with locked_file(self.path / LOCK) as is_locked:
            if not is_locked:
                raise RunError("this search is being worked on by another process", where=self.path)
            remove_temporaries(self.path)
            yield

    def run_path(self, number: int) -> Path:
        """Run directory of a trial."""
        return self.path / RUNS / f"{number:03d}"

    def value(self, trial: Trial) -> float | None:
        """Value of a trial that the search maximizes; None without a result."""
        return trial.valid.get(self.info.metric)

    def best(self) -> Trial | None:
        """The best trial, the earlier one of ties; None if none has a result."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> list[Trial]:
        """Trials with a result, the best first."""
        trials = [trial for trial in self.trials if self.value(trial) is not None]
        return sorted(trials, key=lambda trial: (-trial.valid[self.info.metric], trial.number))

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
        """Add a finished trial, update ``best.yaml`` and delete weights that are not needed."""
        lines = "".join(one.model_dump_json() + "\n" for one in (*self.trials, trial))
        write_text(self.path / TRIALS, lines)
        self.trials.append(trial)
        self.tidy()

    def tidy(self) -> None:
        """Write ``best.yaml`` and delete the weights of trials that are not the best."""
        best = self.best()
        if best:
            self.write_best(best)
        for trial in self.trials:
            path = self.run_path(trial.number)
            if not path.is_dir():
                continue
            remove_temporaries(path)
            if trial is not best:
                for file in path.iterdir():
                    if file.is_file() and file.name not in KEPT_FILES:
                        file.unlink()

    def write_best(self, best: Trial) -> None:
        """Write the complete configuration of the best trial, with the result as a comment."""
        text = config_to_yaml(with_values(self.base, best.values))
        write_text(self.path / BEST, "".join(f"# {line}\n" for line in self._describe(best)) + text)

    def _describe(self, best: Trial) -> list[str]:
        info, first = self.info, self.trials[0]
        name = " ".join(info.dataset["name"].split())
        lines = [
            f"The best of {len(self.trials)} trials of `ld4mrec tune`: {info.model} on {name}, "
            "chosen on validation:",
            f"trial {best.number}, {info.metric} {best.valid[info.metric]:.4f} "
            f"(epoch {best.best_epoch}).",
        ]
        if best is first:
            return [*lines, "These are the values that the search started from."]
        start = self.value(first)
        result = f"{info.metric} {start:.4f}" if start is not None else "without a result"
        changes = changed_values(first.values, best.values)
        return [
            *lines,
            f"Trial 0, which the search started from: {result}. Changed from it:",
            *changes,
        ]

    def discard(self) -> None:
        """Remove a search without trials."""
        shutil.rmtree(self.path / RUNS, ignore_errors=True)
        remove_temporaries(self.path)
        for name in (SEARCH, LOCK):
            (self.path / name).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def read_trials(self) -> None:
        """Read ``trials.jsonl``. Raises RunError with the line that was changed."""
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
            problem: str | None = "is no trial"
        else:
            problem = self._check_trial(trial, number)
        if problem:
            hint = (
                "The file was changed since it was written: start a new search with another --out"
            )
            raise RunError(problem, where=file, line=number + 1, hint=hint)
        return trial

    def _check_trial(self, trial: Trial, number: int) -> str | None:
        """Problem of a trial; None without one."""
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
        values = {
            key: manifest.config.get(key.split(".")[0], {}).get(key.split(".")[1])
            for key in trial.values
        }
        best = manifest.best.valid if manifest.best and has_result else {}
        if values != trial.values or best != trial.valid:
            return f"trial {number} is not what its run directory says"
        return None
