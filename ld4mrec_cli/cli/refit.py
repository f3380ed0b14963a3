"""`ld4mrec refit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ld4mrec_cli.cli.options import Device, Run, Threads


def refit(
    run: Run = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Dataset directory, which may be newer than the run's.",
            show_default="the run's",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory to write.", show_default="runs/NAME-TIME")
    ] = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Train a finished run again on every interaction, to serve it.

    The settings and the number of epochs are the run's; all splits are training data, and nothing
    is validated. The result serves; it cannot be evaluated on this dataset.

    Example: ld4mrec refit --run runs/shop-20260101-020000 --data data/shop
    """
    from ld4mrec_cli.cli.console import training_callbacks
    from ld4mrec_cli.cli.train import print_result
    from ld4mrec_cli.runs.paths import latest_run
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.training.refit import refit as refit_run
    from ld4mrec_cli.utils.distributed import init_distributed

    with init_distributed() as group:
        source = RunDirectory.open(run or Path(group.broadcast(str(latest_run()))))
        metric = source.config.training.metric
        with training_callbacks(metric, group.is_main_process) as callbacks:
            trained = refit_run(source, data, out, callbacks, group, device)
        if group.is_main_process:
            print_result(trained)
