"""The search for hyperparameters: suggest, train, validate, again.

The validation split alone decides; the test split is not opened. Trial 0 has the values of the base
configuration, so that the result is never worse than the start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ld4mrec_cli.config import Config, iter_differences
from ld4mrec_cli.data.dataset import Dataset
from ld4mrec_cli.experiments.tune.plot import plot_search
from ld4mrec_cli.experiments.tune.records import MAY_DIFFER, Budget, SearchInfo, Trial
from ld4mrec_cli.experiments.tune.search import PLOT, SearchDirectory
from ld4mrec_cli.experiments.tune.space import Space, is_valid
from ld4mrec_cli.experiments.tune.suggest import IsBehind, median_pruning_rule, never_prune, suggest
from ld4mrec_cli.experiments.tune.trials import run_trial
from ld4mrec_cli.runs.paths import new_run_path
from ld4mrec_cli.runs.versions import package_versions
from ld4mrec_cli.training.session import Callbacks, open_dataset
from ld4mrec_cli.utils.device import resolve_device
from ld4mrec_cli.utils.errors import (
    ConfigError,
    DatasetError,
    StudyFailed,
    TrainingInterrupted,
    UserError,
)


@dataclass
class SearchCallbacks:
    """Callbacks for the progress of a search; each does nothing unless replaced."""

    on_trial: Callable[[int, Mapping[str, Any]], None] = lambda number, values: None
    """A trial begins: its number, and its values by config key."""
    on_result: Callable[[SearchDirectory, Trial], None] = lambda search, trial: None
    """A trial ended and is recorded."""
    on_note: Callable[[str], None] = lambda text: None
    """A remark about the search that the user should read."""
    training: Callbacks = field(default_factory=Callbacks)
    """Progress of the training within a trial."""


def tune(
    base: Config, space: Space, out: Path | None, budget: Budget, callbacks: SearchCallbacks
) -> SearchDirectory:
    """Search ``space`` around ``base`` within ``budget``.

    The directory that is returned holds the best configuration.

    An ``out`` that holds the same search is continued; None makes a new directory in ``runs/``.

    Raises:
        ConfigError: ``out`` holds a search that differs in base configuration or space.
        DatasetError: ``out`` holds a search on another dataset, or the dataset is unfit.
        RunError: ``out`` is damaged, or another process is working on it.
        StudyFailed: no trial gave a result.
        TrainingInterrupted: finished trials are kept and the search can be continued.
        UserError: all that `train` raises for ``base``.
    """
    resolve_device(base.training.device)
    dataset = open_dataset(base)
    path = out or new_run_path(f"tune-{base.model_name}-{dataset.name}")
    is_new = SearchDirectory.open(path) is None
    search = _open_or_create(path, base, space, budget, dataset)
    with search.locked():
        search.save_info()  # a search of another process keeps its budget
        search.read_trials()
        try:
            search.tidy()
            _Search(search, base, search.space, budget, callbacks).run()
        except (KeyboardInterrupt, TrainingInterrupted):
            hint = f"Finished trials are kept: continue with `ld4mrec tune --out {path}`"
            raise TrainingInterrupted(
                f"interrupted after {_count(len(search.trials))}", hint=hint
            ) from None
        except UserError:
            if is_new and not search.trials:
                search.discard()
            raise
    return search


def _count(n: int) -> str:
    return f"{n} trial" if n == 1 else f"{n} trials"


def _open_or_create(
    path: Path, base: Config, space: Space, budget: Budget, dataset: Dataset
) -> SearchDirectory:
    info = SearchInfo(
        model=base.model_name,
        metric=base.training.metric,
        seed=base.training.seed,
        base=base.model_dump(mode="json"),
        space=space.as_dict(),
        dataset={
            "path": str(dataset.directory.resolve()),
            "name": dataset.name,
            "hash": dataset.hash,
        },
        budget=budget,
        started=datetime.now().astimezone().isoformat(),
        versions={**package_versions(), "optuna": version("optuna")},
    )
    search = SearchDirectory.open(path)
    if search is None:
        return SearchDirectory.create(path, info)
    _check_same(search, info)
    search.info = search.info.model_copy(
        update={"budget": budget, "base": info.base, "dataset": info.dataset}
    )
    return search


def _check_same(search: SearchDirectory, now: SearchInfo) -> None:
    """Raise unless the search has the same settings as the requested one."""
    hint = "Continue it with its own settings, or choose another --out"
    for key, before, after in iter_differences(search.info.base, now.base, MAY_DIFFER):
        change = f"{key} was {json.dumps(before)} and is {json.dumps(after)} now"
        message = f"this search had other settings: {change}"
        raise ConfigError(message, where=search.path, hint=hint)
    for key in dict.fromkeys((*search.info.space, *now.space)):
        before, after = search.info.space.get(key), now.space.get(key)
        if before != after:
            change = f"{key} was {json.dumps(before)} and is {json.dumps(after)} now"
            message = f"this search had another space: {change}"
            raise ConfigError(message, where=search.path, hint=hint)
    if search.info.dataset["hash"] != now.dataset["hash"]:
        message = f"is not the dataset that {search.path} was searched on"
        raise DatasetError(message, where=now.dataset["path"], hint=hint)


@dataclass(frozen=True)
class _Search:
    """A search in progress."""

    directory: SearchDirectory
    base: Config
    space: Space
    budget: Budget
    callbacks: SearchCallbacks

    def run(self) -> None:
        """Run trials until the budget is spent, then plot them.

        Raises StudyFailed if no trial has a result.
        """
        directory = self.directory
        while not self._is_spent():
            number, values = len(directory.trials), self._suggest()
            if values is None:
                self.callbacks.on_note("every combination of the search space was tried")
                break
            self.callbacks.on_trial(number, values)
            path, is_behind = directory.run_path(number), self._pruning_rule()
            seconds = self._seconds_left()
            directory.record(
                run_trial(
                    number, self.base, values, path, seconds, is_behind, self.callbacks.training
                )
            )
            self.callbacks.on_result(directory, directory.trials[-1])
        if directory.best() is None:
            n, reason = len(directory.trials), directory.trials[-1].reason
            raise StudyFailed(
                f"no trial of {n} gave a result; the last: {reason}", where=directory.path
            )
        plot_search(directory, self.space, directory.path / PLOT)

    def _suggest(self) -> dict[str, Any] | None:
        """Values of the next trial; None if all combinations were tried."""
        trials = self.directory.trials
        if not trials:
            return self.space.values_of(self.base)
        results = [self.directory.value(trial) for trial in trials]
        tried = [trial.values for trial in trials]
        fits = partial(is_valid, self.base)
        return suggest(self.space, tried, results, self.base.training.seed, fits)

    def _pruning_rule(self) -> IsBehind:
        return median_pruning_rule(self.directory.curves()) if self.budget.prune else never_prune

    def _is_spent(self) -> bool:
        n_trials = len(self.directory.trials)
        if not n_trials:
            return False
        return (
            self.budget.trials is not None and n_trials >= self.budget.trials
        ) or self._seconds_left() <= 0.0

    def _seconds_left(self) -> float:
        if self.budget.minutes is None:
            return float("inf")
        return self.budget.minutes * 60.0 - sum(trial.seconds for trial in self.directory.trials)
