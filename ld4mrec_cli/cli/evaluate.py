"""`ld4mrec evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ld4mrec_cli.cli.list_writer import open_writer
from ld4mrec_cli.cli.options import (
    LIST_FORMATS,
    Device,
    Format,
    Run,
    Threads,
    format_option,
    parse_integers,
)
from ld4mrec_cli.cli.output import Output, parse_output
from ld4mrec_cli.data.splits import Split
from ld4mrec_cli.settings.evaluation import EvaluationConfig
from ld4mrec_cli.utils.errors import UserError

if TYPE_CHECKING:
    from ld4mrec_cli.data.dataset import Dataset
    from ld4mrec_cli.evaluation.evaluate import OnLists
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.utils.distributed import Group


class EvaluatedSplit(StrEnum):
    """Splits that can be evaluated."""

    TEST = Split.TEST.value
    VALID = Split.VALID.value


class UnknownChoice(StrEnum):
    """What becomes of users and items of newer data that a run does not know."""

    ERROR = "error"
    SKIP = "skip"


class MaskChoice(StrEnum):
    """Items that are excluded from the ranking."""

    TRAIN = "train"
    TRAIN_VALID = "train+valid"


def evaluate(
    run: Run = None,
    split: Annotated[EvaluatedSplit, typer.Option(help="Split to evaluate.")] = EvaluatedSplit.TEST,
    k: Annotated[
        str | None, typer.Option(help="Cutoffs, comma-separated.", show_default="5,10,20,50")
    ] = None,
    format: Annotated[Format, format_option(Format.TABLE, Format.JSON)] = Format.TABLE,
    mask: Annotated[
        MaskChoice | None,
        typer.Option(
            help="Items that are excluded from the ranking.", show_default="the run's, train"
        ),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option(
            help="Also write the lists that are measured: .csv, .tsv, .json, .parquet, .txt.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Dataset directory: moved since training, or newer data of the same catalog.",
            show_default="the run's",
        ),
    ] = None,
    on_unknown: Annotated[
        UnknownChoice | None,
        typer.Option(
            help="Users and items of newer data that the run does not know.", show_default="error"
        ),
    ] = None,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Evaluate a trained run by ranking the whole catalog.

    --data may name newer data of the same catalog; a refit is evaluated on nothing else.

    Example: ld4mrec evaluate --split test --k 10,20 --format json

    Example: ld4mrec evaluate --k 20 --lists lists.csv

    Example: ld4mrec evaluate --run runs/yesterday --data data/today --on-unknown skip
    """
    output = None if lists is None else _parse_lists(lists)
    cutoffs = parse_cutoffs(k) if k is not None else None
    _check_options(split, mask, data, on_unknown)

    from ld4mrec_cli.cli.console import log, progress_counter
    from ld4mrec_cli.runs.evaluate import applied_mask, evaluate_run, open_run_dataset
    from ld4mrec_cli.runs.paths import latest_run
    from ld4mrec_cli.runs.run_directory import RunDirectory
    from ld4mrec_cli.utils.device import resolve_device
    from ld4mrec_cli.utils.distributed import init_distributed

    with init_distributed() as group:
        opened = RunDirectory.open(run or Path(group.broadcast(str(latest_run()))))
        options = _options(opened.config.evaluation, split, cutoffs, mask)
        dataset = open_run_dataset(opened, data)
        device_ = group.device_for(resolve_device(device or "auto"))
        own_users = group.shard_sizes(dataset.schema.splits[split.value].users)[group.rank]
        with (
            progress_counter("evaluating", own_users, group.is_main_process) as on_batch,
            _list_sink(output, opened, dataset, group) as on_lists,
        ):
            result = evaluate_run(
                opened,
                dataset,
                split.value,
                options,
                device_,
                on_batch,
                group,
                on_lists,
                log,
                None if data is None else (on_unknown or UnknownChoice.ERROR).value,
            )
        if not group.is_main_process:
            return
    mask_ = applied_mask(opened, split.value, options)
    if format is Format.JSON:
        _print_json(result.metrics, len(result.users), split.value, mask_, opened.path)
    else:
        title = (
            f"{opened.manifest.name} ({opened.manifest.model}), {split.value} split, "
            f"{len(result.users):,} users, masked: {mask_}"
        )
        print_metrics(result.metrics, options.k, title)


def _check_options(
    split: EvaluatedSplit,
    mask: MaskChoice | None,
    data: Path | None,
    on_unknown: UnknownChoice | None,
) -> None:
    """Raise UserError for options that contradict each other."""
    if split is EvaluatedSplit.VALID and mask is MaskChoice.TRAIN_VALID:
        hint = "Leave out --mask: on the valid split, training items are masked"
        raise UserError(
            "--mask train+valid would leave out the very items that --split valid looks for",
            hint=hint,
        )
    if on_unknown is not None and data is None:
        raise UserError("--on-unknown is for newer data", hint="Name them with --data DIR")


def _parse_lists(path: Path) -> Output:
    """The output of ``--lists``: a file, because the metrics are on standard output."""
    output = parse_output(None, path, LIST_FORMATS)
    if output.path is None:
        raise UserError("--lists needs a file: the metrics are on standard output")
    return output


@contextmanager
def _list_sink(
    output: Output | None, run: RunDirectory, dataset: Dataset, group: Group
) -> Iterator[OnLists | None]:
    """A function that writes lists, for the evaluation; None where none are asked for."""
    if output is None:
        yield None
        return
    if group.size > 1:
        raise UserError("--lists is written by one process", hint="Run it without torchrun")
    from ld4mrec_cli.runs.catalog import Catalog
    from ld4mrec_cli.serving.lists import make_lists

    catalog = Catalog(run, "train")
    with open_writer(output) as write:
        yield lambda users, items, scores: write(
            make_lists(catalog, [dataset.users[user] for user in users], items, scores)
        )


def _options(
    options: EvaluationConfig,
    split: EvaluatedSplit,
    cutoffs: tuple[int, ...] | None,
    mask: MaskChoice | None,
) -> EvaluationConfig:
    """The run's options, changed by flags; on the valid split the mask is always ``train``."""
    applied = MaskChoice.TRAIN if split is EvaluatedSplit.VALID else mask
    changes = {"k": cutoffs, "mask": applied.value if applied else None}
    return options.model_copy(
        update={name: value for name, value in changes.items() if value is not None}
    )


def parse_cutoffs(text: str) -> tuple[int, ...]:
    """Parse ``5,10,20`` into ascending cutoffs. Raises UserError."""
    cutoffs = sorted(set(parse_integers("--k", text, "5,10,20")))
    if cutoffs[0] < 1:
        raise UserError(f"--k {cutoffs[0]} is below 1")
    return tuple(cutoffs)


def print_metrics(metrics: Mapping[str, float], cutoffs: Sequence[int], title: str) -> None:
    """Print metrics as a table, a row per metric and a column per cutoff."""
    from ld4mrec_cli.cli.console import print_table
    from ld4mrec_cli.utils.tables import Table

    names = list(dict.fromkeys(name.split("@")[0] for name in metrics))
    rows = [[name, *(f"{metrics[f'{name}@{k}']:.4f}" for k in cutoffs)] for name in names]
    print_table(Table(["metric", *(f"@{k}" for k in cutoffs)], rows, title))


def _print_json(
    metrics: Mapping[str, float], n_users: int, split: str, mask: str, run: Path
) -> None:
    result = {
        "split": split,
        "n_users": n_users,
        "metrics": metrics,
        "mask": mask,
        "run": str(run),
    }
    typer.echo(json.dumps(result))
