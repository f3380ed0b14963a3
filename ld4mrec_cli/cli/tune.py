"""`ld4mrec tune`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ld4mrec_cli.cli.options import (
    ConfigFile,
    Device,
    Format,
    ModelName,
    Overrides,
    Threads,
    TrainingData,
    format_option,
    read_config,
)
from ld4mrec_cli.config import Config
from ld4mrec_cli.utils.errors import UserError

if TYPE_CHECKING:
    from ld4mrec_cli.experiments.tune.records import Budget, Trial
    from ld4mrec_cli.experiments.tune.search import SearchDirectory
    from ld4mrec_cli.experiments.tune.space import Space
    from ld4mrec_cli.experiments.tune.tuning import SearchCallbacks
    from ld4mrec_cli.training.trainer import EpochReport

DEFAULT_TRIALS = 30
SHOWN_TRIALS = 3
"""Best trials that are printed."""


def tune(
    config: ConfigFile = None,
    data: TrainingData = None,
    model: ModelName = None,
    space: Annotated[
        Path | None,
        typer.Option(
            help="YAML search space: config key to interval or choices.", show_default="built-in"
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, help="Stop after this many trials in all.", show_default=str(DEFAULT_TRIALS)
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop after this time of training in all.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Search directory; an existing one is continued.",
            show_default="runs/tune-MODEL-DATA-TIME",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of proposals and trainings.", show_default="0")
    ] = None,
    device: Device = None,
    threads: Threads = None,
    set_: Overrides = None,
    format: Annotated[Format, format_option(Format.TABLE, Format.JSON)] = Format.TABLE,
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune",
            help="Cut trials that fall behind the median.",
            show_default="prune",
        ),
    ] = None,
    print_space: Annotated[
        bool, typer.Option("--print-space", help="Print the search space and do nothing.")
    ] = False,
) -> None:
    """Search for better hyperparameters, by validation.

    The best configuration is written as a file for `train --config`.

    Example: ld4mrec tune --data data/tiktok --model ease --trials 20
    """
    from ld4mrec_cli.experiments.tune.search import SearchDirectory

    if minutes is not None and not 0.0 < minutes < float("inf"):
        raise UserError(
            f"--minutes {minutes:g} is no time to search in", hint="Give a number above 0"
        )
    flags = {
        "data.path": None if data is None else str(data),
        "model_name": model,
        "training.device": device,
        "training.seed": seed,
    }
    stored = None if out is None else SearchDirectory.open(out)
    settings = read_config(config, set_, flags, stored.base if stored and config is None else None)
    if print_space:
        typer.echo(_space_text(space, settings), nl=False)
        return
    searched = _space(space, settings, stored)
    search = _tune(settings, searched, out, _budget(trials, minutes, prune, stored))
    if format is Format.JSON:
        typer.echo(json.dumps(_as_json(search)))
    else:
        _print_result(search)


def _space(file: Path | None, settings: Config, stored: SearchDirectory | None) -> Space:
    from ld4mrec_cli.experiments.tune.space_io import builtin_space, load_space

    if file is not None:
        return load_space(file, settings)
    return stored.space if stored else builtin_space(settings)


def _space_text(file: Path | None, settings: Config) -> str:
    """The text of a space file, once it is known to fit, or of the built-in space."""
    from ld4mrec_cli.experiments.tune.space_io import builtin_space_text, load_space

    if file is None:
        return builtin_space_text(settings.model_name, settings.preset)
    load_space(file, settings)
    return file.read_text(encoding="utf-8")


def _budget(
    trials: int | None, minutes: float | None, prune: bool | None, stored: SearchDirectory | None
) -> Budget:
    """Trials and minutes of the command line take the place of an earlier budget's together."""
    from ld4mrec_cli.experiments.tune.records import Budget

    known = stored.info.budget if stored else Budget(trials=DEFAULT_TRIALS, prune=True)
    if trials is None and minutes is None:
        trials, minutes = known.trials, known.minutes
    return Budget(trials=trials, minutes=minutes, prune=known.prune if prune is None else prune)


def _tune(settings: Config, space: Space, out: Path | None, budget: Budget) -> SearchDirectory:
    from ld4mrec_cli.experiments.tune import tuning

    with _search_watcher(settings.training.metric, budget.trials) as callbacks:
        return tuning.tune(settings, space, out, budget, callbacks)


@contextmanager
def _search_watcher(metric: str, n_trials: int | None) -> Iterator[SearchCallbacks]:
    """Callbacks that print a line per trial and show the epochs between them."""
    from ld4mrec_cli.cli.console import stderr
    from ld4mrec_cli.experiments.tune.tuning import SearchCallbacks
    from ld4mrec_cli.training.session import Callbacks

    console = stderr()
    with console.status("searching") if console.is_terminal else nullcontext() as status:
        shown = _Shown(metric, n_trials, status.update if status else None)
        note = partial(console.print, markup=False)
        said = set[str]()

        def note_once(text: str) -> None:  # every trial would log the same
            if text not in said:
                said.add(text)
                note(text)

        training = Callbacks(on_stage=shown.on_stage, on_note=note_once, on_epoch=shown.on_epoch)
        yield SearchCallbacks(
            shown.on_trial, lambda search, trial: note(_trial_line(search, trial)), note, training
        )


class _Shown:
    """Progress of the present trial: each epoch on a terminal, now and then a line on a pipe."""

    def __init__(
        self, metric: str, n_trials: int | None, update: Callable[[str], None] | None
    ) -> None:
        """``update`` changes the line on the terminal, None on a pipe."""
        from ld4mrec_cli.cli.console import Throttle

        self.metric = metric
        self.of_all = f" ({{}} of {n_trials})" if n_trials else ""
        self.update = update
        self.trial, self.best, self.throttle = "", 0.0, Throttle()

    def on_trial(self, number: int, values: Mapping[str, Any]) -> None:
        self.trial, self.best = f"trial {number}{self.of_all.format(number + 1)}", 0.0
        self.throttle.reset()

    def on_stage(self, text: str) -> None:
        self._show(f"{self.trial}: {text}")

    def on_epoch(self, report: EpochReport) -> None:
        self.best = max(self.best, report.valid[self.metric] if report.valid else 0.0)
        self._show(f"{self.trial}: epoch {report.epoch}, best {self.metric} {self.best:.4f}")

    def _show(self, text: str) -> None:
        if self.update:
            self.update(text)
        else:
            self.throttle.log(text)


def _trial_line(search: SearchDirectory, trial: Trial) -> str:
    value = search.value(trial)
    result = (
        f"{trial.status}: {trial.reason}"
        if value is None
        else f"valid {search.info.metric} {value:.4f}"
    )
    best = "  best" if trial is search.best() else ""
    cut = {"timed_out": "  stopped: the time is up", "pruned": "  stopped: behind the median"}.get(
        trial.status, ""
    )
    values = ", ".join(
        f"{key.split('.')[1]} {_short(value)}" for key, value in trial.values.items()
    )
    return f"trial {trial.number:3d}  {result}{best}{cut}  {trial.seconds:.1f} s  {values}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _print_result(search: SearchDirectory) -> None:
    from ld4mrec_cli.cli.console import print_table, stdout
    from ld4mrec_cli.experiments.tune.search import BEST
    from ld4mrec_cli.utils.tables import Table

    ranked, start = search.ranked(), search.trials[0]
    shown = list(dict.fromkeys(trial.number for trial in (*ranked[:SHOWN_TRIALS], start)))
    trials = [search.trials[number] for number in shown]
    columns = ["", *(f"trial {t.number}" + (" (start)" if t is start else "") for t in trials)]
    names = dict.fromkeys((search.info.metric, "recall@20", "ndcg@20"))
    rows = [
        [f"valid {name}", *(f"{t.valid[name]:.4f}" if t.valid else "-" for t in trials)]
        for name in names
    ]
    rows.append(["best epoch", *(str(t.best_epoch or "-") for t in trials)])
    rows += [[key, *(_short(t.values[key]) for t in trials)] for key in search.info.space]
    name, n = search.info.dataset["name"], len(search.trials)
    title = f"{search.info.model} on {name}: the best of {n} trials, by validation"
    print_table(Table(columns, rows, title))
    best = ranked[0]
    console = stdout()
    console.print(f"best run: {search.run_path(best.number)}", markup=False)
    console.print(
        f"best configuration written to {search.path / BEST}; train it with", markup=False
    )
    console.print(f"ld4mrec train --config {search.path / BEST}", markup=False)


def _as_json(search: SearchDirectory) -> dict[str, Any]:
    from ld4mrec_cli.experiments.tune.search import BEST

    best = search.ranked()[0]
    return {
        "model": search.info.model,
        "dataset": search.info.dataset["name"],
        "metric": search.info.metric,
        "split": "valid",
        "best": best.model_dump(),
        "start": search.trials[0].model_dump(),
        "trials": [trial.model_dump() for trial in search.trials],
        "config": str(search.path / BEST),
        "run": str(search.run_path(best.number)),
        "search": str(search.path),
    }
