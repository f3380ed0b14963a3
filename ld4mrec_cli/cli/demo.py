"""`ld4mrec demo`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ld4mrec_cli.utils.errors import OutputError

if TYPE_CHECKING:
    from ld4mrec_cli.runs.run_directory import RunDirectory

MARK = "this-is-an-ld4mrec-demo"


def demo(
    out: Annotated[Path, typer.Option(help="Directory for raw files, dataset and runs.")] = Path(
        "ld4mrec-demo"
    ),
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the generated data and the training.")
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier demo.")
    ] = False,
) -> None:
    """Run every step on generated data, in under a minute.

    Example: ld4mrec demo
    """
    _make_room(out, overwrite)

    from ld4mrec_cli.cli.console import print_table
    from ld4mrec_cli.cli.prepare import print_summary
    from ld4mrec_cli.data.prepare import prepare
    from ld4mrec_cli.data.synthetic import write_synthetic
    from ld4mrec_cli.settings.data import PrepareConfig
    from ld4mrec_cli.utils.tables import Table

    raw, data = out / "raw", out / "data"
    _step(
        "raw files",
        f"ls {raw}",
        "Generated: users who like some content clusters; items with titles and images.",
    )
    raw.mkdir()
    write_synthetic(raw, seed)
    typer.echo("  ".join(sorted(path.name for path in raw.iterdir())))

    _step(
        "prepare",
        f"ld4mrec prepare --raw {raw} --out {data}",
        "Filter, split, turn texts into vectors.",
    )
    print_summary(prepare(raw, data, PrepareConfig(seed=seed)), data)

    run, rows = None, []
    for name, (arguments, meaning) in VARIANTS.items():
        path = out / "runs" / name
        _step("train", f"ld4mrec train --data {data} --run {path} {arguments}".rstrip(), meaning)
        run, metrics = _train(name, data, path, seed)
        rows.append(
            [name, *(f"{metrics[f'{metric}@20']:.4f}" for metric in ("recall", "ndcg", "coverage"))]
        )
    assert run is not None

    _step(
        "evaluate",
        f"ld4mrec evaluate --run {run.path}",
        "Rank all items for every user with a test item.",
    )
    print_table(Table(["model", "recall@20", "ndcg@20", "coverage@20"], rows))

    _show_recommendations(run)
    typer.echo(f"\nAll of it is in {out}. Next: ld4mrec prepare --raw YOUR_DATA")


def _show_recommendations(run: RunDirectory) -> None:
    from ld4mrec_cli.cli.list_writer import write_lists
    from ld4mrec_cli.cli.options import Format
    from ld4mrec_cli.cli.output import Output
    from ld4mrec_cli.serving.recommender import Recommender

    recommender = Recommender(run, "cpu")
    someone = recommender.users[0]
    command = f"ld4mrec recommend --run {run.path} --user {someone} --k 5"
    _step(
        "recommend",
        command,
        "One pass through the network. What the user has had, then what comes next:",
    )
    titles = recommender.titles or recommender.items.ids
    for item in recommender.known[0].indices:
        typer.echo(f"      {recommender.items[item]}              {titles[item]}")
    write_lists(recommender.for_users([someone], 5), Output(Format.TABLE))


VARIANTS: dict[str, tuple[str, str]] = {
    "popularity": ("--model popularity", "To compare with: the most popular items for everyone."),
    "no-content": ("--set data.modalities=[]", "LD4MRec from the interactions alone."),
    "ld4mrec": ("", "LD4MRec with item content."),
}
"""Runs of the demo: how they differ on the command line, and what they are."""


def _train(name: str, data: Path, path: Path, seed: int) -> tuple[RunDirectory, dict[str, float]]:
    from ld4mrec_cli.cli.console import training_callbacks
    from ld4mrec_cli.cli.train import print_result
    from ld4mrec_cli.config import load_config
    from ld4mrec_cli.data.dataset import Dataset
    from ld4mrec_cli.runs.evaluate import evaluate_run
    from ld4mrec_cli.training.session import train as run_training
    from ld4mrec_cli.utils.device import resolve_device

    special = {"popularity": ["model_name=popularity"], "no-content": ["data.modalities=[]"]}.get(
        name, []
    )
    common = [f"data.path={json.dumps(str(data))}", f"training.seed={seed}", "training.device=cpu"]
    config = load_config(None, [*common, *special])
    with training_callbacks(config.training.metric) as callbacks:
        run = run_training(config, path, callbacks)
    print_result(run)
    options = config.evaluation.model_copy(update={"k": (20,)})
    dataset = Dataset.open(data)
    return run, evaluate_run(run, dataset, "test", options, resolve_device("cpu")).metrics


def _step(title: str, command: str, meaning: str) -> None:
    typer.echo(f"\n== {title}\n$ {command}\n{meaning}")


def _make_room(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("exists and is not a directory", where=out, hint="Choose another --out")
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise OutputError(
                "exists", where=out, hint="Choose another --out, or give --overwrite to replace it"
            )
        if not (out / MARK).is_file():
            raise OutputError(
                "is not an earlier demo, so it is not replaced",
                where=out,
                hint="Choose another --out",
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
