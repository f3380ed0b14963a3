"""`ld4mrec train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ld4mrec_cli.cli.options import (
    ConfigFile,
    Device,
    ModelName,
    Overrides,
    Threads,
    TrainingData,
    read_config,
)
from ld4mrec_cli.config import Config, load_config

if TYPE_CHECKING:
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.utils.distributed import Group


def train(
    config: ConfigFile = None,
    data: TrainingData = None,
    model: ModelName = None,
    device: Device = None,
    threads: Threads = None,
    run: Annotated[
        Path | None, typer.Option(help="Run directory to write.", show_default="runs/NAME-TIME")
    ] = None,
    set_: Overrides = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the training.", show_default="0")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start from the weights of this run, on older data; ids are matched.",
            metavar="RUN",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue --run, or the newest unfinished run in runs/."),
    ] = False,
) -> None:
    """Train a model; the epoch is chosen on validation.

    Under torchrun the processes share each batch (docs/scaling.md).

    Example: ld4mrec train --config examples/tiktok.yaml --device cpu --set training.max_epochs=50

    Example: ld4mrec train --data data/today --init runs/yesterday --run runs/today
    """
    flags = {
        "data.path": None if data is None else str(data),
        "model_name": model,
        "training.device": device,
        "training.seed": seed,
    }
    from ld4mrec_cli.utils.distributed import init_distributed

    with init_distributed() as group:
        if resume:
            trained = _resume(run, config, set_, flags, group, init)
        else:
            trained = _train(run, read_config(config, set_, flags), group, init)
        if group.is_main_process:
            print_result(trained)


def _train(run: Path | None, settings: Config, group: Group, init: Path | None) -> RunDirectory:
    from ld4mrec_cli.cli.console import training_callbacks
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.training.session import train as run_training

    source = None if init is None else RunDirectory.open(init)
    with training_callbacks(settings.training.metric, group.is_main_process) as callbacks:
        return run_training(settings, run, callbacks, group, source)


def _resume(
    run: Path | None,
    config: Path | None,
    overrides: list[str] | None,
    flags: Mapping[str, Any],
    group: Group,
    init: Path | None,
) -> RunDirectory:
    """Continue a run; ``config`` (None: the run's own settings), overrides and flags go on top."""
    from ld4mrec_cli.cli.console import training_callbacks
    from ld4mrec_cli.runs.paths import unfinished_run
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.training.session import resume

    path = run
    if path is None:  # the main process alone searches: later ones would find the run locked
        name = load_config(config).name if config else None
        path = Path(group.broadcast(str(unfinished_run(name)) if group.is_main_process else ""))
    settings = read_config(config, overrides, flags, RunDirectory.open(path).config)
    source = None if init is None else RunDirectory.open(init)
    with training_callbacks(settings.training.metric, group.is_main_process) as callbacks:
        return resume(path, settings, callbacks, group, source)


def print_result(run: RunDirectory) -> None:
    """Print the best validation result of a run, its cost and its path."""
    from ld4mrec_cli.cli.console import stdout

    manifest, console = run.manifest, stdout()
    best = manifest.best
    if best:
        metrics = [best.metric, *(m for m in ("recall@20", "ndcg@20") if m != best.metric)]
        values = [f"{name} {best.valid[name]:.4f}" for name in metrics if name in best.valid]
        line = f"best epoch {best.epoch} of {manifest.epochs}: valid {', '.join(values)}"
        console.print(line, markup=False)
    if manifest.chosen:
        settings = [f"{key}={_format_value(value)}" for key, value in manifest.chosen.items()]
        console.print(f"chosen on validation: {', '.join(settings)}", markup=False)
    if manifest.mixture:
        scales = dict(manifest.mixture)
        power = scales.pop("trend", 0.0)
        parts = [manifest.model, *(f"{scale:.3g} {part}" for part, scale in scales.items())]
        times = f", times the trend of the items to the power {power:.3g}" if power else ""
        console.print(f"mixture: {' + '.join(parts)}{times}", markup=False)
    if manifest.dataset.history_half_life:
        items = manifest.dataset.history_half_life
        line = f"histories: the weight of an item halves for every {items:g} later items"
        console.print(line, markup=False)
    if manifest.init_from:
        info, source = manifest.dataset, manifest.init_from
        shared = f"{source.users:,} of {info.n_users:,} users, {source.items:,} of {info.n_items:,}"
        console.print(f"started from {source.run}: it has {shared} items", markup=False)
    if manifest.refit_of:
        epochs = f"{manifest.epochs} epoch" + ("s" if manifest.epochs > 1 else "")
        line = f"refit of {manifest.refit_of.run}: {epochs} on every interaction, not validated"
        console.print(line, markup=False)
    memory = f", peak memory {manifest.peak_memory_mb:,.0f} MB" if manifest.peak_memory_mb else ""
    seconds = f"{manifest.seconds:.0f} s on {manifest.device}"
    console.print(f"trained {manifest.model} in {seconds}{memory}", markup=False)
    console.print(f"run written to {run.path}", markup=False)


def _format_value(value: Any) -> str:
    """A chosen value as ``--set`` takes it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {one:g}' for name, one in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
